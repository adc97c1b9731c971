// SPDX-License-Identifier: Apache-2.0
// Few queries: memory sets the pace, so keys and values are read where they lie, once, for all queries that read them, and as streams:
// where the heads of a key lie side by side a task takes all of them. Scores of a whole tile come before its values, and what is read
// next is asked for while something is worked on. Tasks are chunks of keys, merged in the order of the keys.
#include <atomic>

#include "base/parallel.h"
#include "engine/rows.h"

namespace heed::engine {
namespace {

constexpr std::int64_t task_bytes = 256 << 10;  ///< of keys and values where that makes from 8 to 24 tasks
constexpr std::int64_t few_tasks = 8, many_tasks = 24, most_bytes = 4 << 20;
constexpr std::int64_t slab_bytes = 16 << 10;    ///< of keys or of values that are worked on while as much is fetched
constexpr std::int64_t serial_bytes = 16 << 10;  ///< so few do not pay for waking threads
constexpr std::int64_t most_rows = 128;          ///< of a task

kernel::Stored stored(DType dtype) {
  return dtype == DType::f32 ? kernel::Stored::f32 : dtype == DType::bf16 ? kernel::Stored::bf16 : kernel::Stored::f16;
}

/// How the keys are cut: by the problem alone, so that results do not depend on threads.
struct Split {
  std::int64_t heads = 1, groups, chunk, chunks, slab;  ///< heads of a task; tiles of a chunk; keys worked on at a time
  explicit Split(const Call& c) {
    const auto side_by_side = [&](const View& x) { return x.strides[2] == x.extent(3) && x.strides[1] >= c.G * x.extent(3); };
    if (side_by_side(c.k) && side_by_side(c.v))
      heads = std::clamp<std::int64_t>(most_rows / std::max<std::int64_t>(c.N * c.share, 1), 1, std::max<std::int64_t>(c.G, 1));
    groups = (c.G + heads - 1) / heads;
    const std::int64_t size = std::int64_t(size_of(c.k.dtype)), bytes = heads * std::max<std::int64_t>(c.D + c.E, 1) * size;
    const std::int64_t all = c.M * c.B * groups, wanted = std::clamp(task_bytes / bytes, all / many_tasks, all / few_tasks);
    chunk = std::max<std::int64_t>(1, (std::min(wanted, most_bytes / bytes) + c.keys - 1) / c.keys);
    chunks = std::max<std::int64_t>(1, (c.tiles() + chunk - 1) / chunk);
    slab = std::clamp<std::int64_t>(slab_bytes / (heads * std::max<std::int64_t>({c.D, c.E, 1}) * size), 8, 64) / 8 * 8;
  }
};

/// The rows of neighbouring key heads, one Rows each, that walk over the keys together.
class Walk {
 public:
  Walk(const Call& call, const Split& split) : c_(call), split_(split), rows_(std::size_t(split.heads)), open_(std::size_t(split.heads)) {
    for (auto& rows : rows_) rows = std::make_unique<Rows>(call);
  }

  Rows& operator[](std::int64_t h) { return *rows_[std::size_t(h)]; }
  std::int64_t heads() const { return heads_; }

  void load(std::int64_t b, std::int64_t group) {
    b_ = b, g_ = group * split_.heads;
    heads_ = std::min(split_.heads, c_.G - g_);
    for (std::int64_t h = 0; h < heads_; ++h) (*this)[h].load_head(b * c_.G + g_ + h);
  }

  /// The first keys of a tile, before anything is known about it.
  void ask_for_keys(std::int64_t b, std::int64_t group, std::int64_t tile) const {
    const View& k = c_.k;
    const std::int64_t size = std::int64_t(size_of(k.dtype)), row = split_.heads * c_.D * size;
    const std::int64_t begin = tile * c_.keys, end = std::min(begin + split_.slab, c_.key_lengths[std::size_t(b)]);
    for (std::int64_t j = begin; j < end; ++j) {
      const std::int64_t first = b * k.strides[0] + j * k.strides[1] + group * split_.heads * k.strides[2];
      const char* at = static_cast<const char*>(k.data) + first * size;
      for (std::int64_t i = 0; i < row; i += 64) __builtin_prefetch(at + i);
    }
  }

  void visit(std::int64_t tile) {
    int from = int(c_.keys), to = 0;
    for (std::int64_t h = 0; h < heads_; ++h) {
      Rows& rows = (*this)[h];
      open_[std::size_t(h)] = rows.sees(tile) && rows.open(tile);
      if (open_[std::size_t(h)]) from = std::min(from, rows.from()), to = std::max(to, rows.to());
    }
    if (from >= to) return;
    const std::int64_t first = tile * c_.keys;
    each_slab(from, to, [&](Rows& rows, std::int64_t h, int at, int end) {
      rows.score(at, end, end < to ? ahead(c_.k, first + end, h) : ahead(c_.v, first + from, h));
    });
    each([](Rows& rows) { rows.weigh_direct(); });
    each_slab(from, to, [&](Rows& rows, std::int64_t h, int at, int end) {
      rows.value(at, end, end < to ? ahead(c_.v, first + end, h) : ahead(c_.k, first + c_.keys, h));
    });
    each([](Rows& rows) { rows.close(); });
  }

 private:
  template <class F>
  void each(const F& f) {
    for (std::int64_t h = 0; h < heads_; ++h)
      if (open_[std::size_t(h)]) f((*this)[h]);
  }
  template <class F>
  void each_slab(int from, int to, const F& f) {
    for (int at = from; at < to;) {
      const int end = std::min<int>(to, at + int(split_.slab));
      for (std::int64_t h = 0; h < heads_; ++h)
        if (open_[std::size_t(h)]) f((*this)[h], h, at, end);
      at = end;
    }
  }
  /// What head h has to ask for of a slab that begins with `key`: its own rows, or as much of the whole where heads lie side by side.
  kernel::Ahead ahead(const View& x, std::int64_t key, std::int64_t h) const {
    const std::int64_t size = std::int64_t(size_of(x.dtype)), row = x.extent(3) * size;
    const char* at = static_cast<const char*>(x.data) + (b_ * x.strides[0] + key * x.strides[1] + g_ * x.strides[2]) * size;
    if (key >= c_.key_lengths[std::size_t(b_)]) return {static_cast<const char*>(x.data), 0};
    if (heads_ == 1) return {at, x.strides[1] * size};
    return {at + h * split_.slab * row, row};
  }

  const Call& c_;
  const Split& split_;
  std::vector<std::unique_ptr<Rows>> rows_;
  std::vector<char> open_;
  std::int64_t b_ = 0, g_ = 0, heads_ = 0;
};

}  // namespace

const char* Rows::place(const View& view, std::int64_t key) const {
  const std::int64_t g = row_[0].h / call_.share;
  return static_cast<const char*>(view.data) +
         (b_ * view.strides[0] + key * view.strides[1] + g * view.strides[2]) * std::int64_t(size_of(view.dtype));
}

bool Rows::open(std::int64_t tile) {
  if (!ranges(tile)) return false;
  const std::int64_t count = std::min(call_.keys, call_.key_lengths[std::size_t(b_)] - tile * call_.keys);
  tile_ = tile, from_ = int(call_.keys), to_ = 0;
  for (int g = 0; g * call_.products->group < size_; ++g)
    if (first_[g] < last_[g]) from_ = std::min(from_, first_[g]), to_ = std::max(to_, int(std::min<std::int64_t>(end_[g], count)));
  for (auto& even : even_) even = false;  // the product leaves no maxima
  whole_ = false;
  return true;
}

void Rows::score(int from, int to, kernel::Ahead next) {
  from = std::max(from, from_), to = std::min(to, to_);
  if (from < to)
    call_.direct->score(queries_.get(), depth_, place(call_.k, tile_ * call_.keys + from), stored(call_.k.dtype), call_.k.strides[1],
                        call_.D, to - from, scores_.get() + from, score_stride, size_, next);
}

void Rows::weigh_direct() {
  mask_scores(tile_);
  weigh();
  const int pair = call_.products->pair;
  for (int r = 0; r < size_; ++r) {  // columns of the other rows weigh nothing
    float* x = scores_.get() + r * score_stride;
    std::fill(x + from_ / pair, x + std::max(from_, std::min(first_of(r), to_)) / pair, 0.0f);
    std::fill(x + std::max(from_, last_of(r)) / pair, x + up(std::max(to_, last_of(r)), pair) / pair, 0.0f);
  }
  std::copy(out_.get(), out_.get() + size_ * width_, before_.get());
}

void Rows::value(int from, int to, kernel::Ahead next) {
  from = std::max(from, from_), to = std::min(to, to_);
  if (from < to)
    call_.direct->value(scores_.get() + from / call_.products->pair, score_stride, place(call_.v, tile_ * call_.keys + from),
                        stored(call_.v.dtype), call_.v.strides[1], call_.E, to - from, out_.get(), width_, size_, next);
}

/// A weight of 0 must not meet NaN or infinity: where a result is not finite the weights other than 0 alone are added again.
void Rows::close() {
  if (call_.table->finite(out_.get(), size_ * width_)) return;
  std::copy(before_.get(), before_.get() + size_ * width_, out_.get());
  for (int r = 0; r < size_; ++r)
    for (int j = from_; j < to_; ++j) {
      const float weight = weight_at(r, j);
      const char* v = place(call_.v, tile_ * call_.keys + j);
      if (weight != 0)
        call_.table->direct.value(&weight, 1, v, stored(call_.v.dtype), call_.v.strides[1], call_.E, 1, out_.get() + r * width_, width_, 1,
                                  {v, 0});
    }
}

void run_direct(const Call& c) {
  const Split split(c);
  const std::int64_t walks = c.B * split.groups, head_part = c.N * c.share * (c.value_width() + 3), part = split.heads * head_part;
  const std::int64_t bytes = c.B * c.G * c.M * (c.D + c.E) * std::int64_t(size_of(c.k.dtype));
  const int threads = bytes < serial_bytes ? 1 : c.context.threads;
  std::vector<std::unique_ptr<Walk>> workers;  // made here, as threads that ask for memory together wait for each other
  for (std::int64_t i = 0; i < std::min<std::int64_t>(base::thread_count(threads), walks * split.chunks); ++i)
    workers.push_back(std::make_unique<Walk>(c, split));
  const Buffer parts(split.chunks > 1 ? walks * split.chunks * part : 0);
  std::vector<std::atomic<std::int64_t>> done(static_cast<std::size_t>(walks));
  base::parallel(threads, walks * split.chunks, [&](std::int64_t task, int worker) {
    Walk& walk = *workers[std::size_t(worker)];
    const std::int64_t at = task / split.chunks, chunk = task % split.chunks;
    walk.ask_for_keys(at / split.groups, at % split.groups, chunk * split.chunk);
    walk.load(at / split.groups, at % split.groups);
    std::int64_t last = 0;
    for (std::int64_t h = 0; h < walk.heads(); ++h) last = std::max(last, walk[h].last_tile());
    for (std::int64_t tile = chunk * split.chunk; tile < std::min((chunk + 1) * split.chunk, last); ++tile) walk.visit(tile);
    if (split.chunks > 1) {
      for (std::int64_t h = 0; h < walk.heads(); ++h) walk[h].save(parts.get() + task * part + h * head_part);
      if (done[std::size_t(at)].fetch_add(1) + 1 < split.chunks) return;
      walk.load(at / split.groups, at % split.groups);  // the last one merges
      for (std::int64_t h = 0; h < walk.heads(); ++h)
        for (std::int64_t i = 0; i < split.chunks; ++i) walk[h].merge(parts.get() + (at * split.chunks + i) * part + h * head_part);
    }
    for (std::int64_t h = 0; h < walk.heads(); ++h) walk[h].finish(nullptr);
  });
}

}  // namespace heed::engine
