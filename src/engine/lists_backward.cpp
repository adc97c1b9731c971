// SPDX-License-Identifier: Apache-2.0
// Two passes: by query, which leaves the weights p and the score gradients ds of every edge; then by key, over the transposed lists.
// Every sum is made by one task, in the order of its list.
#include <cstring>

#include "engine/lists.h"

namespace heed {
namespace engine {
namespace {

struct Backward {
  const ListCall& c;
  const ListInputs& to;
  Table3 d_out, d_lse, d_weights;
  Buffer p, ds;  ///< (rows, L)
  std::int64_t ranges = 0;
  Buffer d_att;  ///< (ranges, H, D), summed in their order

  bool needs_keys() const { return to.k || to.v || to.source; }
  float* slot(const Buffer& buffer, std::int64_t h, std::int64_t position) const {
    return buffer.get() + c.lists.edge_of(position) * c.columns() + c.column(h);
  }

  /// ds of list (h, i) into scratch.factors; scratch.scores keeps the weights.
  void score_gradients(std::int64_t h, std::int64_t i, Csr::Span span, ListScratch& scratch) const {
    float *s = scratch.scores.get(), *g = scratch.factors.get();
    const std::int64_t n = span.size;
    list_scores(c, h, i, scratch);
    float max, sum;
    if (c.options.softmax) c.loops->softmax(s, n, &max, &sum);
    if (d_out) {
      const float* d = floats_of(c, d_out, i, h, scratch.row);
      c.loops->rows(c.v.dtype).dot(d, c.lists.keys(c.v, c.group(h), span), c.W, 1, false, g);
    } else {
      std::fill(g, g + n, 0.0f);
    }
    if (d_weights) {
      const kernel::Picked d = c.lists.edges(d_weights, c.column(h), span);
      c.loops->gather(static_cast<const float*>(d.rows), d.stride, d.index, n, true, g);
    }
    if (c.options.softmax) c.loops->softmax_back(s, g, n, d_lse ? *d_lse.floats(i, h) : 0.0f);
    if (c.options.score == ListScore::additive)
      for (std::int64_t e = 0; e < n; ++e)
        if (!(scratch.raw.get()[e] > 0)) g[e] *= c.options.negative_slope;
  }

  void by_query(std::int64_t range, std::int64_t i, std::int64_t h, ListScratch& scratch, const Buffer& edge_rows) const {
    const Csr::Span span = c.lists.of(h, i);
    const std::int64_t n = span.size, group = c.group(h), column = c.column(h);
    float *g = scratch.factors.get(), *row = scratch.row.get();
    score_gradients(h, i, span, scratch);
    for (std::int64_t e = 0; e < n; ++e) {
      if (to.v) *slot(p, h, span.begin + e) = scratch.scores.get()[e];
      if (needs_keys()) *slot(ds, h, span.begin + e) = g[e];
      if (to.bias)
        write_row(kernel::table_of(c.context.isa), *to.bias,
                  c.lists.edge_of(span.begin + e) * to.bias->stride(0) + column * to.bias->stride(1), 1, 1, g + e);
    }
    if (to.target) {
      float sum = 0;
      for (std::int64_t e = 0; e < n; ++e) sum += g[e];
      write_row(kernel::table_of(c.context.isa), *to.target, i * to.target->stride(0) + h * to.target->stride(1), 1, 1, &sum);
    }
    if (!to.q && !to.features && !to.att) return;
    const kernel::Picked keys = c.lists.keys(c.k, group, span), features = c.lists.edges(c.features, column, span);
    const kernel::RowLoops& loops = c.loops->rows(c.k.dtype);
    const float* q = floats_of(c, c.q, i, h, scratch.query);
    float* df = to.features ? edge_rows.get() : nullptr;
    std::memset(row, 0, std::size_t(c.D) * sizeof(float));
    if (c.options.score == ListScore::leaky) {
      loops.leaky_add(g, c.att.floats(h, 0), q, keys, features, c.D, c.options.negative_slope, row,
                      to.att ? d_att.get() + (range * c.H + h) * c.D : nullptr, df);
    } else {
      for (std::int64_t e = 0; e < n; ++e) g[e] *= c.scale;
      loops.add(g, keys, c.D, row);
      if (c.features) c.loops->f32.add(g, features, c.D, row);
      for (std::int64_t e = 0; df && e < n; ++e)
        for (std::int64_t d = 0; d < c.D; ++d) df[e * c.D + d] = g[e] * q[d];
    }
    if (to.q) write_row(kernel::table_of(c.context.isa), *to.q, i * to.q->stride(0) + h * to.q->stride(1), to.q->stride(2), c.D, row);
    for (std::int64_t e = 0; df && e < n; ++e)
      write_row(kernel::table_of(c.context.isa), *to.features,
                c.lists.edge_of(span.begin + e) * to.features->stride(0) + column * to.features->stride(1), to.features->stride(2), c.D,
                df + e * c.D);
  }

  /// Factors of a transposed list out of a per-edge buffer.
  const float* factors(const Buffer& from, const Csr& lists, std::int64_t h, Csr::Span span, float scale, ListScratch& scratch) const {
    const std::int64_t L = c.columns();
    float* to = scratch.factors.get();
    c.loops->gather(from.get() + c.column(h) + (lists.edge ? 0 : span.begin * L), L, lists.edge ? lists.edge + span.begin : nullptr,
                    span.size, false, to);
    for (std::int64_t e = 0; scale != 1 && e < span.size; ++e) to[e] *= scale;
    return to;
  }

  /// The per-edge numbers of list i, and what by_key reads of list j, where every head does so.
  void prefetch_edges(const Csr& lists, std::int64_t i) const {
    if (i >= lists.lists || lists.heads != 1 || !lists.edge) return;
    const Csr::Span span = lists.of(0, i);
    for (const Buffer* buffer : {&p, &ds})
      prefetch({{}, reinterpret_cast<const char*>(buffer->get()), DType::f32, c.lists.rows, c.H, 1, c.H, 1}, lists.edge + span.begin,
               span.size);
  }
  void prefetch_queries(const Csr& lists, std::int64_t j) const {
    if (j >= c.M || lists.heads != 1) return;
    const Csr::Span span = lists.of(0, j);
    if (to.k) prefetch(c.q, lists.index + span.begin, span.size);
    if (to.v) prefetch(d_out, lists.index + span.begin, span.size);
    prefetch_edges(lists, j);
  }

  void by_key(const Csr& lists, std::int64_t j, ListScratch& scratch) const {
    const std::int64_t share = c.H / c.G;
    float* row = scratch.row.get();
    const bool leaky = c.options.score == ListScore::leaky;
    for (std::int64_t g = 0; g < c.G; ++g) {
      if (to.k) {
        std::memset(row, 0, std::size_t(c.D) * sizeof(float));
        const float* k = leaky ? floats_of(c, c.k, j, g, scratch.query) : nullptr;
        for (std::int64_t h = g * share; h < (g + 1) * share; ++h) {
          const Csr::Span span = lists.of(h, j);
          const float* w = factors(ds, lists, h, span, leaky ? 1 : c.scale, scratch);
          const kernel::RowLoops& loops = c.loops->rows(c.q.dtype);
          if (leaky)
            loops.leaky_add(w, c.att.floats(h, 0), k, lists.keys(c.q, h, span), lists.edges(c.features, c.column(h), span), c.D,
                            c.options.negative_slope, row, nullptr, nullptr);
          else
            loops.add(w, lists.keys(c.q, h, span), c.D, row);
        }
        write_row(kernel::table_of(c.context.isa), *to.k, j * to.k->stride(0) + g * to.k->stride(1), to.k->stride(2), c.D, row);
      }
      if (to.v) {
        std::memset(row, 0, std::size_t(c.W) * sizeof(float));
        for (std::int64_t h = g * share; d_out && h < (g + 1) * share; ++h) {
          const Csr::Span span = lists.of(h, j);
          c.loops->rows(d_out.dtype).add(factors(p, lists, h, span, 1, scratch), lists.keys(d_out, h, span), c.W, row);
        }
        write_row(kernel::table_of(c.context.isa), *to.v, j * to.v->stride(0) + g * to.v->stride(1), to.v->stride(2), c.W, row);
      }
    }
    for (std::int64_t h = 0; to.source && h < c.H; ++h) {
      const Csr::Span span = lists.of(h, j);
      const float* w = factors(ds, lists, h, span, 1, scratch);
      float sum = 0;
      for (std::int64_t e = 0; e < span.size; ++e) sum += w[e];
      write_row(kernel::table_of(c.context.isa), *to.source, j * to.source->stride(0) + h * to.source->stride(1), 1, 1, &sum);
    }
  }
};

void check_gradients(const ListCall& c, const ListInputs& inputs, const ListInputs& to) {
  const auto want = [](const char* name, const std::optional<View>& view, const std::optional<View>& of) {
    if (!view) return;
    const std::string argument = std::string("gradient of ") + name;
    if (!of) fail(argument, "none, as there is no " + std::string(name), view->shape.text());
    want_view(argument.c_str(), *view, of->shape, false, true);
  };
  want("q", to.q, inputs.q);
  want("k", to.k, inputs.k);
  want("v", to.v, inputs.v);
  want("source", to.source, inputs.source);
  want("target", to.target, inputs.target);
  want("att", to.att, inputs.att);
  want("bias", to.bias, inputs.bias);
  want("features", to.features, inputs.features);
  if (c.lists.rows > c.lists.entries)
    for (const auto* edges : {&to.bias, &to.features})
      if (*edges) clear(**edges);
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void attend_lists_backward(const ListInputs& inputs, const Lists& lists, const ListOutputs& cotangents, const ListInputs& gradients,
                           const ListOptions& options, const Context& context, const Lists* transposed) {
  using namespace engine;
  const ListCall c = check_lists(inputs, lists, options, context);
  Backward b{c, gradients, {}, {}, {}, {}, {}, 0, {}};
  const auto take = [](const char* name, const std::optional<View>& view, const Shape& shape, bool floats_only, Table3& to) {
    if (!view) return;
    want_view(name, *view, shape, floats_only, false);
    to = rows_of(*view);
  };
  if (cotangents.out && !c.v) fail("gradient of out", "none, as there is no v", cotangents.out->shape.text());
  if (cotangents.lse && !options.softmax) fail("gradient of lse", "none without softmax", cotangents.lse->shape.text());
  take("gradient of out", cotangents.out, {c.N, c.H, c.W}, false, b.d_out);
  take("gradient of lse", cotangents.lse, {c.N, c.H}, true, b.d_lse);
  take("gradient of weights", cotangents.weights, {c.lists.rows, c.columns()}, true, b.d_weights);
  Lists made;
  Csr keys;
  if (b.needs_keys()) {
    if (!transposed) made = transpose(lists, c.M), transposed = &made;
    keys = check_lists(*transposed, c.N);
    if (keys.lists != c.M || keys.entries != c.lists.entries || keys.rows != c.lists.rows || keys.heads != c.lists.heads)
      fail("transposed", "the lists of " + std::to_string(c.M) + " keys, " + std::to_string(c.lists.entries) + " entries",
           std::to_string(keys.lists) + " keys, " + std::to_string(keys.entries) + " entries");
  }
  check_gradients(c, inputs, gradients);

  const Ranges queries(c.lists);
  const std::int64_t edges = c.lists.rows * c.columns(), att = c.H * c.D;
  b.p = Buffer(gradients.v ? edges : 0), b.ds = Buffer(b.needs_keys() ? edges : 0);
  b.d_att = Buffer(gradients.att ? queries.count() * att : 0);
  if (gradients.att) std::fill(b.d_att.get(), b.d_att.get() + queries.count() * att, 0.0f);
  const std::int64_t longest = std::max(c.lists.longest(), b.needs_keys() ? keys.longest() : 0), width = std::max(c.D, c.W);
  const std::size_t workers = std::size_t(base::thread_count(context.threads));
  std::vector<std::unique_ptr<ListScratch>> scratches(workers);
  std::vector<Buffer> edge_rows(workers);
  const auto scratch_of = [&](int worker) -> ListScratch& {
    auto& scratch = scratches[std::size_t(worker)];
    if (!scratch) {
      scratch = std::make_unique<ListScratch>(longest, width);
      if (gradients.features) edge_rows[std::size_t(worker)] = Buffer(longest * c.D);
    }
    return *scratch;
  };
  queries.run(context.threads, [&](std::int64_t range, std::int64_t first, std::int64_t last, int worker) {
    ListScratch& scratch = scratch_of(worker);
    for (std::int64_t i = first; i < last; ++i) {
      c.prefetch_keys(i + 1);
      b.prefetch_edges(c.lists, i + 1);
      for (std::int64_t h = 0; h < c.H; ++h) b.by_query(range, i, h, scratch, edge_rows[std::size_t(worker)]);
    }
  });
  if (gradients.att) {
    std::vector<float> sum(std::size_t(att), 0.0f);
    for (std::int64_t r = 0; r < queries.count(); ++r)
      for (std::int64_t d = 0; d < att; ++d) sum[std::size_t(d)] += b.d_att.get()[r * att + d];
    const View& to = *gradients.att;
    for (std::int64_t h = 0; h < c.H; ++h)
      write_row(kernel::table_of(c.context.isa), to, h * to.stride(0), to.stride(1), c.D, sum.data() + h * c.D);
  }
  if (!b.needs_keys()) return;
  Ranges(keys).run(context.threads, [&](std::int64_t, std::int64_t first, std::int64_t last, int worker) {
    ListScratch& scratch = scratch_of(worker);
    for (std::int64_t j = first; j < last; ++j) {
      b.prefetch_queries(keys, j + 1);
      b.by_key(keys, j, scratch);
    }
  });
}

}  // namespace v0
}  // namespace heed
