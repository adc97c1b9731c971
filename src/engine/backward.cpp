// SPDX-License-Identifier: Apache-2.0
// Gradients of attend(): for a tile of keys, every block of queries that sees it, in this order,
//   P = weights    G = dO V^T    dS = P (G - delta), delta = sum of dO O    dV += P^T dO    dK += dS^T Q    dQ += dS K
// (FlashAttention-2, Dao 2023). A task owns the keys of a strip, so that only dQ is summed across tasks, strip by strip.
#include <cmath>

#include "base/parallel.h"
#include "engine/rows.h"

namespace heed {
namespace engine {
namespace {

constexpr std::int64_t block_rows = 96;
constexpr std::int64_t turned_stride = block_rows + 16;

std::int64_t up16(std::int64_t n) { return (n + 15) / 16 * 16; }

struct Job {
  Call call;
  View out, lse, dout;
  AttendGradients to;
  std::int64_t strips = 1, batches = 1, groups = 1;  ///< a task is a strip of keys of a batch and key head, or of all that share a bias
  std::int64_t bias_strides[4] = {}, bias_size = 0, bias_copies = 1;
  Buffer delta, dq, dbias, dalibi;

  std::int64_t D() const { return up16(call.D); }
  std::int64_t E() const { return up16(call.E); }
  std::int64_t row(std::int64_t b, std::int64_t h, std::int64_t i) const { return (b * call.H + h) * call.N + i; }
};

void want_float(const char* name, const View& view, const Shape& shape, DType dtype) {
  if (view.dtype != DType::f32 && view.dtype != dtype) fail(name, std::string(name_of(dtype)) + " or f32", name_of(view.dtype));
  if (!(view.shape == shape)) fail(name, shape.text(), view.shape.text());
  if (view.count() > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
}

Job check_backward(const View& q, const View& k, const View& v, const View& out, const View& lse, const View& dout,
                   const AttendGradients& to, const AttendOptions& options, Context context) {
  context.precision = Precision::strict;
  Job job;
  Call& c = job.call;
  c = check(q, k, v, nullptr, options, {}, context);
  c.rows = block_rows;
  c.direct = nullptr;
  job.out = out, job.lse = lse, job.dout = dout, job.to = to;
  want_float("out", out, {c.B, c.N, c.H, c.E}, q.dtype);
  want_float("out_gradient", dout, {c.B, c.N, c.H, c.E}, q.dtype);
  if (c.softmax) want_float("lse", lse, {c.B, c.H, c.N}, DType::f32);
  const auto gradient = [&](const char* name, const std::optional<View>& view, const Shape& shape) {
    if (!view) return;
    want_float(name, *view, shape, q.dtype);
    for (int a = 0; a < view->rank() && view->count() > 0; ++a)
      if (view->extent(a) > 1 && view->stride(a) == 0) fail(name, "elements of their own", "a stride of 0");
  };
  gradient("gradients.q", to.q, q.shape);
  gradient("gradients.k", to.k, k.shape);
  gradient("gradients.v", to.v, v.shape);
  const auto need = [](const char* name, bool given) {
    if (!given) fail(name, "that option to be given", "none");
  };
  if (to.bias) need("gradients.bias", options.bias.has_value()), gradient("gradients.bias", to.bias, options.bias->shape);
  if (to.alibi_slopes)
    need("gradients.alibi_slopes", options.alibi_slopes.has_value()), gradient("gradients.alibi_slopes", to.alibi_slopes, {c.H});
  if (to.sink) need("gradients.sink", options.sink.has_value()), gradient("gradients.sink", to.sink, {c.H});

  job.batches = c.B, job.groups = c.G;
  if (to.bias) {
    const View& bias = *options.bias;
    job.bias_size = bias.count();
    std::int64_t stride = 1;
    for (int a = bias.rank() - 1; a >= 0; --a) {
      if (bias.extent(a) > 1) job.bias_strides[a + 4 - bias.rank()] = stride;
      stride *= bias.extent(a);
    }
    if (job.bias_strides[0] == 0) job.batches = 1;
    if (job.bias_strides[1] == 0) job.groups = 1;
  }
  const std::int64_t owners = job.batches * job.groups, wanted = owners >= 8 || owners == 0 ? 1 : (8 + owners - 1) / owners;
  job.strips = std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(1, c.tiles()));
  job.bias_copies = to.bias && job.bias_strides[3] == 0 ? job.strips : 1;
  return job;
}

/// n rows of a dense buffer to [width / 16][rows][16]; zeros up to `rows`.
void to_values(const float* from, std::int64_t ld, std::int64_t n, std::int64_t rows, std::int64_t width, float* to) {
  for (std::int64_t e = 0; e < width; e += 16, to += rows * 16) {
    for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * 16, from + i * ld + e, 16 * sizeof(float));
    std::memset(to + n * 16, 0, std::size_t((rows - n) * 16) * sizeof(float));
  }
}

class Worker {
 public:
  explicit Worker(Job& job)
      : job_(job),
        c_(job.call),
        D_(job.D()),
        E_(job.E()),
        rows_(c_),
        scores_(block_rows * score_stride),
        capped_(block_rows * score_stride),
        p_turned_(c_.keys * turned_stride),
        g_turned_(c_.keys * turned_stride),
        row_keys_(c_.keys * D_),
        row_values_(c_.keys * E_),
        keys_(c_.keys * c_.D),
        key_values_(c_.keys * D_),
        values_(c_.keys * c_.E),
        dout_(block_rows * E_),
        dout_values_(block_rows * E_),
        query_values_(block_rows * D_),
        dk_(c_.keys * D_),
        dv_(c_.keys * E_),
        totals_(2 * block_rows) {}

  void run(std::int64_t task) {
    const std::int64_t owner = task / job_.strips, strip = task % job_.strips, tiles = c_.tiles();
    const std::int64_t b0 = owner / job_.groups, g0 = owner % job_.groups;
    for (std::int64_t b = b0; b < c_.B; b += job_.batches)
      for (std::int64_t g = g0; g < c_.G; g += job_.groups)
        for (std::int64_t tile = tiles * strip / job_.strips; tile < tiles * (strip + 1) / job_.strips; ++tile) keys_of(b, g, tile, strip);
  }

 private:
  void keys_of(std::int64_t b, std::int64_t g, std::int64_t tile, std::int64_t strip) {
    begin_ = tile * c_.keys;
    const std::int64_t count = std::clamp<std::int64_t>(c_.key_lengths[std::size_t(b)] - begin_, 0, c_.keys);
    std::memset(dk_.get(), 0, std::size_t(c_.keys * D_) * sizeof(float));
    std::memset(dv_.get(), 0, std::size_t(c_.keys * E_) * sizeof(float));
    if (count > 0) {
      load_keys(b, g, count);
      for (std::int64_t h = g * c_.share; h < (g + 1) * c_.share; ++h)
        for (std::int64_t block = 0; block * block_rows < c_.N; ++block) queries_of(b, h, block, tile, strip);
    }
    for (std::int64_t j = begin_; j < std::min(begin_ + c_.keys, c_.M); ++j) {
      const auto put = [&](const std::optional<View>& to, const float* from, std::int64_t n) {
        if (to) write_row(*c_.table, *to, b * to->strides[0] + j * to->strides[1] + g * to->strides[2], to->strides[3], n, from);
      };
      float* dk = dk_.get() + (j - begin_) * D_;
      c_.table->scale(dk, D_, c_.scale);
      put(job_.to.k, dk, c_.D);
      put(job_.to.v, dv_.get() + (j - begin_) * E_, c_.E);
    }
  }

  void load_keys(std::int64_t b, std::int64_t g, std::int64_t count) {
    std::memset(row_keys_.get(), 0, std::size_t(c_.keys * D_) * sizeof(float));
    std::memset(row_values_.get(), 0, std::size_t(c_.keys * E_) * sizeof(float));
    const auto& s = c_.k.strides;
    const auto& t = c_.v.strides;
    for (std::int64_t j = 0; j < count; ++j) {
      read_row(*c_.table, c_.k, b * s[0] + (begin_ + j) * s[1] + g * s[2], s[3], c_.D, row_keys_.get() + j * D_);
      read_row(*c_.table, c_.v, b * t[0] + (begin_ + j) * t[1] + g * t[2], t[3], c_.E, row_values_.get() + j * E_);
    }
    for (std::int64_t j = 0; j < c_.keys; j += 16) {
      c_.table->transpose(row_keys_.get() + j * D_, D_, c_.D, keys_.get() + j * c_.D);
      c_.table->transpose(row_values_.get() + j * E_, E_, c_.E, values_.get() + j * c_.E);
    }
    to_values(row_keys_.get(), D_, c_.keys, c_.keys, D_, key_values_.get());
  }

  void queries_of(std::int64_t b, std::int64_t h, std::int64_t block, std::int64_t tile, std::int64_t strip) {
    const std::int64_t first = block * block_rows, size = std::min(block_rows, c_.N - first);
    rows_.begin(b);
    for (std::int64_t i = 0; i < size; ++i) rows_.add(h, first + i);
    if (!rows_.sees(tile)) return;
    rows_.read();
    const auto& s = job_.dout.strides;
    std::memset(dout_.get(), 0, std::size_t(block_rows * E_) * sizeof(float));
    for (std::int64_t r = 0; r < size; ++r) {
      read_row(*c_.table, job_.dout, b * s[0] + (first + r) * s[1] + h * s[2], s[3], c_.E, dout_.get() + r * E_);
      totals_.get()[2 * r] = 0;
      totals_.get()[2 * r + 1] = 1;
      if (!c_.softmax) continue;
      const float lse =
          static_cast<const float*>(job_.lse.data)[b * job_.lse.strides[0] + h * job_.lse.strides[1] + (first + r) * job_.lse.strides[2]];
      totals_.get()[2 * r] = lse == -infinity ? 0.0f : lse * log2e;
    }
    if (!rows_.weights(tile, keys_.get(), totals_.get())) return;
    rows_.product(dout_.get(), E_, values_.get(), c_.E, scores_.get());
    if (c_.options.softcap > 0) rows_.capped(keys_.get(), capped_.get());
    int columns = 0;
    for (int r = 0; r < size; ++r) columns = std::max(columns, rows_.last_of(r));
    for (int r = 0; r < size; ++r) score_gradient(b, h, first + r, r, columns, strip);
    const std::int64_t padded = up16(size);
    for (std::int64_t r = size; r < padded; ++r) {
      std::memset(rows_.weights_of(int(r)), 0, std::size_t(columns) * sizeof(float));
      std::memset(scores_.get() + r * score_stride, 0, std::size_t(columns) * sizeof(float));
    }
    products(b, h, first, size, padded, columns, strip);
  }

  /// Row r of G becomes the gradient of its scores; P and it are 0 outside the columns that hold weights.
  void score_gradient(std::int64_t b, std::int64_t h, std::int64_t i, int r, int columns, std::int64_t strip) {
    float *p = rows_.weights_of(r), *g = scores_.get() + r * score_stride;
    const int from = rows_.first_of(r), n = rows_.last_of(r) - from;
    for (float* x : {p, g}) {
      std::memset(x, 0, std::size_t(n > 0 ? from : columns) * sizeof(float));
      if (n > 0) std::memset(x + from + n, 0, std::size_t(columns - from - n) * sizeof(float));
    }
    if (n == 0) return;
    if (c_.softmax) {
      const float delta = job_.delta.get()[job_.row(b, h, i)];
      if (c_.tiles() == 1 && !c_.has_sink() && !job_.to.part) {
        c_.table->softmax_back_whole(p + from, g + from, n, delta);
      } else {
        c_.table->softmax_back(p + from, g + from, n, delta);
      }
    } else if (c_.options.weighting == Weighting::sigmoid) {
      c_.table->sigmoid_back(p + from, g + from, n);
    } else {
      c_.table->relu_back(p + from, g + from, n, 1.0f / float(c_.key_lengths[std::size_t(b)]));
    }
    const int end = int(std::min<std::int64_t>(from + n, c_.M - begin_));
    if (job_.to.bias) {
      const auto* t = job_.bias_strides;
      float* to = job_.dbias.get() + (job_.bias_copies > 1 ? strip * job_.bias_size : 0) + b * t[0] + h * t[1] + i * t[2];
      if (t[3] == 1) {
        c_.table->add(to + begin_ + from, g + from, end - from);
      } else {
        for (int j = from; j < end; ++j) to[(begin_ + j) * t[3]] += g[j];
      }
    }
    if (job_.to.alibi_slopes) {
      float& to = job_.dalibi.get()[(strip * c_.B + b) * c_.H + h];
      for (int j = from; j < end; ++j) to -= g[j] * float(std::abs(rows_.row(r).p - begin_ - j));
    }
    if (c_.options.softcap > 0) c_.table->softcap_back(capped_.get() + r * score_stride + from, g + from, n, c_.options.softcap);
  }

  void products(std::int64_t b, std::int64_t h, std::int64_t first, std::int64_t size, std::int64_t padded, int columns,
                std::int64_t strip) {
    const int group = c_.products->group, groups = int((size + group - 1) / group);
    for (std::int64_t r = 0; r < padded; r += 16) {
      c_.table->turn(rows_.weights_of(int(r)), score_stride, columns, p_turned_.get() + r, turned_stride);
      c_.table->turn(scores_.get() + r * score_stride, score_stride, columns, g_turned_.get() + r, turned_stride);
    }
    to_values(dout_.get(), E_, size, padded, E_, dout_values_.get());
    to_values(rows_.queries(), rows_.query_stride(), size, padded, D_, query_values_.get());
    int from[tile_keys], to[tile_keys];  // of a group of keys: the queries that see any
    for (int at = 0; at * group < columns; ++at) {
      from[at] = int(padded), to[at] = 0;
      for (int g = 0; g < groups; ++g)
        if (rows_.first()[g] < (at + 1) * group && rows_.last()[g] > at * group)
          from[at] = std::min(from[at], g * group), to[at] = std::min(int(padded), (g + 1) * group);
    }
    const auto& value = c_.products->value;
    value(p_turned_.get(), turned_stride, dout_values_.get(), padded * 16, dv_.get(), E_, columns, int(E_ / 16), from, to);
    value(g_turned_.get(), turned_stride, query_values_.get(), padded * 16, dk_.get(), D_, columns, int(D_ / 16), from, to);
    if (!job_.to.q) return;
    float* dq = job_.dq.get() + (strip * c_.B * c_.H * c_.N + job_.row(b, h, first)) * D_;
    value(scores_.get(), score_stride, key_values_.get(), c_.keys * 16, dq, D_, int(size), int(D_ / 16), rows_.first(), rows_.last());
  }

  Job& job_;
  const Call& c_;
  const std::int64_t D_, E_;
  std::int64_t begin_ = 0;
  Rows rows_;
  Buffer scores_, capped_, p_turned_, g_turned_, row_keys_, row_values_, keys_, key_values_, values_, dout_, dout_values_, query_values_,
      dk_, dv_, totals_;
};

void fill_delta(Job& job) {
  const Call& c = job.call;
  base::parallel(c.context.threads, c.B * c.H, [&](std::int64_t at, int) {
    const std::int64_t b = at / c.H, h = at % c.H;
    std::vector<float> x(std::size_t(up16(c.E))), y(x);  // zeros behind the values
    for (std::int64_t i = 0; i < c.N; ++i) {
      const auto read = [&](const View& view, float* to) {
        read_row(*c.table, view, b * view.strides[0] + i * view.strides[1] + h * view.strides[2], view.strides[3], c.E, to);
      };
      read(job.out, x.data());
      read(job.dout, y.data());
      float sums[4] = {};
      for (std::size_t e = 0; e < x.size(); e += 4)
        for (std::size_t s = 0; s < 4; ++s) sums[s] += x[e + s] * y[e + s];
      job.delta.get()[job.row(b, h, i)] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  });
}

void write_queries(Job& job) {
  const Call& c = job.call;
  const std::int64_t D = job.D(), all = c.B * c.H * c.N;
  const View& to = *job.to.q;
  base::parallel(c.context.threads, c.B * c.H, [&](std::int64_t at, int) {
    const std::int64_t b = at / c.H, h = at % c.H;
    for (std::int64_t i = 0; i < c.N; ++i) {
      float* sum = job.dq.get() + job.row(b, h, i) * D;
      for (std::int64_t strip = 1; strip < job.strips; ++strip) c.table->add(sum, sum + strip * all * D, D);
      c.table->scale(sum, D, c.scale);
      write_row(*c.table, to, b * to.strides[0] + i * to.strides[1] + h * to.strides[2], to.strides[3], c.D, sum);
    }
  });
}

void write_bias(Job& job) {
  const View& to = *job.to.bias;
  for (std::int64_t copy = 1; copy < job.bias_copies; ++copy)
    job.call.table->add(job.dbias.get(), job.dbias.get() + copy * job.bias_size, job.bias_size);
  std::int64_t outer = 1;
  const std::int64_t width = to.rank() > 0 ? to.extent(-1) : 1;
  for (int a = 0; a + 1 < to.rank(); ++a) outer *= to.extent(a);
  for (std::int64_t at = 0; at < outer; ++at) {
    std::int64_t offset = 0, left = at;
    for (int a = to.rank() - 2; a >= 0; --a) offset += left % to.extent(a) * to.stride(a), left /= to.extent(a);
    write_row(*job.call.table, to, offset, to.rank() > 0 ? to.stride(-1) : 1, width, job.dbias.get() + at * width);
  }
}

void write_heads(Job& job) {
  const Call& c = job.call;
  for (std::int64_t h = 0; h < c.H; ++h) {
    float slope = 0, sink = 0;
    if (job.to.alibi_slopes) {
      for (std::int64_t at = 0; at < job.strips * c.B; ++at) slope += job.dalibi.get()[at * c.H + h];
      write_row(*c.table, *job.to.alibi_slopes, h * job.to.alibi_slopes->strides[0], 1, 1, &slope);
    }
    if (!job.to.sink) continue;
    const auto& s = job.lse.strides;
    for (std::int64_t b = 0; b < c.B; ++b)
      for (std::int64_t i = 0; i < c.query_lengths[std::size_t(b)]; ++i) {
        const float lse = static_cast<const float*>(job.lse.data)[b * s[0] + h * s[1] + i * s[2]];
        sink -= std::exp(c.sink(h) - lse) * job.delta.get()[job.row(b, h, i)];
      }
    write_row(*c.table, *job.to.sink, h * job.to.sink->strides[0], 1, 1, &sink);
  }
}

Buffer zeros(std::int64_t n) {
  Buffer buffer(n);
  std::memset(buffer.get(), 0, std::size_t(n) * sizeof(float));
  return buffer;
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void attend_backward(const View& q, const View& k, const View& v, const View& out, const View& lse, const View& out_gradient,
                     const AttendGradients& gradients, const AttendOptions& options, const Context& context) {
  using namespace engine;
  Job job = check_backward(q, k, v, out, lse, out_gradient, gradients, options, context);
  const Call& c = job.call;
  job.delta = Buffer(c.B * c.H * c.N);
  fill_delta(job);
  if (gradients.q) job.dq = zeros(job.strips * c.B * c.H * c.N * job.D());
  if (gradients.bias) job.dbias = zeros(job.bias_copies * job.bias_size);
  if (gradients.alibi_slopes) job.dalibi = zeros(job.strips * c.B * c.H);
  std::vector<std::unique_ptr<Worker>> workers(std::size_t(base::thread_count(context.threads)));
  base::parallel(context.threads, job.batches * job.groups * job.strips, [&](std::int64_t task, int worker) {
    auto& own = workers[std::size_t(worker)];
    if (!own) own = std::make_unique<Worker>(job);
    own->run(task);
  });
  if (gradients.q) write_queries(job);
  if (gradients.bias) write_bias(job);
  write_heads(job);
}

}  // namespace v0
}  // namespace heed
