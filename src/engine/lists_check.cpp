// SPDX-License-Identifier: Apache-2.0
// Lists and the calls over them: what is asked of the arguments, and the ways to make lists.
#include <cmath>

#include "engine/lists.h"

namespace heed {
namespace engine {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

Tensor integers(const char* name, const View& view) {
  if (view.dtype != DType::i64) fail(name, "i64", name_of(view.dtype));
  if (view.count() > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
  return Tensor(view, std::shared_ptr<void>(view.data, [](void*) {})).dense();
}

const std::int64_t* data_of(const Tensor& t) { return t.data<const std::int64_t>(); }

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16; }

/// Below 2^31: what the vector gathers multiply.
void want_small(const char* name, std::int64_t n) {
  if (n >= std::int64_t(1) << 31) fail(name, "less than 2^31", number(n));
}

}  // namespace

void want_view(const char* name, const View& view, const Shape& shape, bool floats_only, bool written) {
  if (floats_only ? view.dtype != DType::f32 : !is_float(view.dtype))
    fail(name, floats_only ? "f32" : "f32, bf16 or f16", name_of(view.dtype));
  if (!(view.shape == shape)) fail(name, shape.text(), view.shape.text());
  if (view.count() == 0) return;
  if (view.data == nullptr) fail(name, "memory", "a null pointer");
  for (int a = 0; written && a < view.rank(); ++a)
    if (view.extent(a) > 1 && view.stride(a) == 0) fail(name, "elements of their own", "a stride of 0 on axis " + number(a));
}

Table3 rows_of(const View& view) {
  Table3 table;
  View at = view;
  if (view.rank() == 3 && view.extent(2) > 1 && view.stride(2) != 1) {
    table.kept = Tensor(view, std::shared_ptr<void>(view.data, [](void*) {})).dense();
    at = table.kept;
  }
  static const char empty[4] = {};
  table.data = at.data ? static_cast<const char*>(at.data) : empty;
  table.dtype = at.dtype;
  table.n = at.extent(0), table.heads = at.extent(1), table.width = at.rank() == 3 ? at.extent(2) : 1;
  table.row = at.stride(0), table.head = at.stride(1);
  return table;
}

std::int64_t Csr::longest() const {
  std::int64_t most = 0;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < lists; ++i) most = std::max(most, of(h, i).size);
  return most;
}

Csr check_lists(const Lists& lists, std::int64_t keys) {
  Csr c;
  if (!lists.offsets.defined()) fail("offsets", "i64 (N+1) or (H, N+1)", "none");
  if (!lists.index.defined()) fail("index", "i64 (entries)", "none");
  const int rank = lists.offsets.rank();
  if ((rank != 1 && rank != 2) || lists.offsets.extent(-1) < 1 || lists.offsets.extent(0) < 1)
    fail("offsets", "(N+1) or (H, N+1)", lists.offsets.shape().text());
  if (lists.index.rank() != 1) fail("index", "(entries)", lists.index.shape().text());
  c.kept_offsets = integers("offsets", lists.offsets);
  c.kept_index = integers("index", lists.index);
  c.offsets = data_of(c.kept_offsets), c.index = data_of(c.kept_index);
  c.heads = rank == 2 ? lists.offsets.extent(0) : 1, c.lists = lists.offsets.extent(-1) - 1, c.entries = lists.index.count();
  c.rows = lists.rows < 0 ? c.entries : lists.rows;

  std::int64_t before = 0;
  for (std::int64_t h = 0, at = 0; h < c.heads; ++h)
    for (std::int64_t i = 0; i <= c.lists; ++i, ++at) {
      const std::int64_t here = c.offsets[at];
      if (here < before || (i == 0 && here != before))
        fail("offsets", i == 0 ? number(before) + " at the first list of head " + number(h) : number(before) + " or more at " + number(at),
             number(here));
      before = here;
    }
  if (before != c.entries) fail("offsets", "to end at the " + number(c.entries) + " entries of index", number(before));
  if (keys >= 0) {
    want_small("keys", keys);
    for (std::int64_t p = 0; p < c.entries; ++p)
      if (c.index[p] < 0 || c.index[p] >= keys) fail("index", "0 to " + number(keys - 1), number(c.index[p]) + " at entry " + number(p));
  }
  want_small("rows", c.rows);
  if (!lists.edge.defined()) {
    if (c.rows != c.entries) fail("rows", number(c.entries) + ", as there is no edge", number(c.rows));
    return c;
  }
  if (lists.edge.rank() != 1 || lists.edge.count() != c.entries) fail("edge", "[" + number(c.entries) + "]", lists.edge.shape().text());
  c.kept_edge = integers("edge", lists.edge);
  c.edge = data_of(c.kept_edge);
  std::vector<bool> seen(std::size_t(c.rows), false);
  for (std::int64_t p = 0; p < c.entries; ++p) {
    const std::int64_t e = c.edge[p];
    if (e < 0 || e >= c.rows) fail("edge", "0 to " + number(c.rows - 1), number(e) + " at entry " + number(p));
    if (seen[std::size_t(e)]) fail("edge", "each row once", number(e) + " again at entry " + number(p));
    seen[std::size_t(e)] = true;
  }
  return c;
}

ListCall check_lists(const ListInputs& in, const Lists& lists, const ListOptions& options, const Context& context) {
  ListCall c;
  c.options = options;
  c.context = context;
  c.loops = &kernel::lists_of(context.isa);
  const ListScore score = options.score;
  const bool by_rows = score == ListScore::dot || score == ListScore::leaky, additive = score == ListScore::additive;
  const auto present = [](const char* name, const std::optional<View>& view, bool wanted, bool required, int rank, const char* shape) {
    if (!view) return required ? fail(name, shape, "none") : void();
    if (!wanted) fail(name, "none with this score", view->shape.text());
    if (view->rank() != rank) fail(name, shape, view->shape.text());
  };
  present("q", in.q, by_rows, by_rows, 3, "(N, H, D)");
  present("k", in.k, by_rows, by_rows, 3, "(M, G, D)");
  present("v", in.v, true, false, 3, "(M, G, W)");
  present("source", in.source, additive, additive, 2, "(M, H)");
  present("target", in.target, additive, additive, 2, "(N, H)");
  present("att", in.att, score == ListScore::leaky, score == ListScore::leaky, 2, "(H, D)");
  present("bias", in.bias, true, score == ListScore::edge, 2, "(rows, L)");
  present("features", in.features, by_rows, false, 3, "(rows, L, D)");

  const std::int64_t keys = in.k ? in.k->extent(0) : in.source ? in.source->extent(0) : in.v ? in.v->extent(0) : -1;
  c.lists = check_lists(lists, keys);
  c.N = c.lists.lists;
  c.M = std::max<std::int64_t>(keys, 0);
  c.H = in.q                        ? in.q->extent(1)
        : in.target                 ? in.target->extent(1)
        : c.lists.heads > 1         ? c.lists.heads
        : lists.offsets.rank() == 2 ? 1
                                    : in.bias->extent(1);
  if (lists.offsets.rank() == 2 && c.lists.heads != c.H)
    fail("offsets", "lists of " + number(c.H) + " heads", lists.offsets.shape().text());
  c.G = in.k ? in.k->extent(1) : in.v ? in.v->extent(1) : c.H;
  c.D = in.q ? in.q->extent(2) : 0;
  c.W = in.v ? in.v->extent(2) : 0;
  if (c.H > 0 && (c.G < 1 || c.H % c.G)) fail(in.k ? "k" : "v", "heads that divide " + number(c.H), number(c.G));

  const auto take = [&](const char* name, const std::optional<View>& view, const Shape& shape, bool floats_only, Table3& to) {
    if (!view) return;
    want_view(name, *view, shape, floats_only, false);
    to = rows_of(*view);
  };
  take("q", in.q, {c.N, c.H, c.D}, false, c.q);
  take("k", in.k, {c.M, c.G, c.D}, false, c.k);
  take("v", in.v, {c.M, c.G, c.W}, false, c.v);
  take("source", in.source, {c.M, c.H}, true, c.source);
  take("target", in.target, {c.N, c.H}, true, c.target);
  if (in.att) {
    want_view("att", *in.att, {c.H, c.D}, true, false);
    View att = *in.att;
    att.shape = {c.H, 1, c.D};
    att.strides = {in.att->stride(0), 0, in.att->stride(1)};
    c.att = rows_of(att);
  }
  take("bias", in.bias, {c.lists.rows, c.columns()}, true, c.bias);
  take("features", in.features, {c.lists.rows, c.columns(), c.D}, true, c.features);
  for (const Table3* other : {&c.k, &c.v})
    if (*other && c.q && other->dtype != c.q.dtype) fail(other == &c.k ? "k" : "v", name_of(c.q.dtype), name_of(other->dtype));
  for (const std::int64_t stride : {c.source.row, c.bias.row}) want_small("stride", std::abs(stride));
  c.scale = options.scale.value_or(c.D > 0 ? 1.0f / std::sqrt(float(c.D)) : 1.0f);
  return c;
}

Ranges::Ranges(const Csr& lists) : cuts_{0} {
  constexpr std::int64_t unit = 4096, overhead = 8;
  std::int64_t cost = 0;
  for (std::int64_t i = 0; i < lists.lists; ++i) {
    cost += overhead;
    for (std::int64_t h = 0; h < lists.heads; ++h) cost += lists.of(h, i).size;
    if (cost >= unit || i + 1 == lists.lists) cuts_.push_back(i + 1), cost = 0;
  }
}

}  // namespace engine

inline namespace v0 {
using engine::data_of;
using engine::number;

Lists lists_of_edges(const View& edge_index, std::int64_t targets) {
  if (edge_index.rank() != 2 || edge_index.extent(0) != 2) fail("edge_index", "(2, E)", edge_index.shape.text());
  if (targets < 0) fail("targets", "0 or more", number(targets));
  const Tensor kept = engine::integers("edge_index", edge_index);
  const std::int64_t edges = edge_index.extent(1), *source = data_of(kept), *target = source + edges;
  Lists lists{Tensor::zeros(DType::i64, {targets + 1}), Tensor(DType::i64, {edges}), Tensor(DType::i64, {edges})};
  auto* offsets = lists.offsets.data<std::int64_t>();
  for (std::int64_t e = 0; e < edges; ++e) {
    if (target[e] < 0 || target[e] >= targets)
      fail("edge_index", "targets 0 to " + number(targets - 1), number(target[e]) + " at edge " + number(e));
    ++offsets[target[e] + 1];
  }
  for (std::int64_t i = 0; i < targets; ++i) offsets[i + 1] += offsets[i];
  std::vector<std::int64_t> next(offsets, offsets + targets);
  for (std::int64_t e = 0; e < edges; ++e) {
    const std::int64_t at = next[std::size_t(target[e])]++;
    lists.index.data<std::int64_t>()[at] = source[e];
    lists.edge.data<std::int64_t>()[at] = e;
  }
  return lists;
}

Lists lists_of_table(const View& index, std::int64_t keys) {
  const bool heads = index.rank() == 4;
  if (index.rank() != 3 && !heads) fail("index", "(B, N, K) or (B, H, N, K)", index.shape.text());
  const Tensor kept = engine::integers("index", index);
  const std::int64_t B = index.extent(0), H = heads ? index.extent(1) : 1, N = index.extent(-2), K = index.extent(-1);
  const std::int64_t* at = data_of(kept);
  std::int64_t entries = 0;
  for (std::int64_t p = 0; p < kept.count(); ++p) {
    if (at[p] < -1 || at[p] >= keys) fail("index", "-1 to " + number(keys - 1), number(at[p]) + " at place " + number(p));
    entries += at[p] >= 0;
  }
  Lists lists{Tensor(DType::i64, heads ? Shape{H, B * N + 1} : Shape{B * N + 1}), Tensor(DType::i64, {entries}),
              Tensor(DType::i64, {entries}), kept.count()};
  std::int64_t *offsets = lists.offsets.data<std::int64_t>(), *to = lists.index.data<std::int64_t>(),
               *edge = lists.edge.data<std::int64_t>(), n = 0;
  for (std::int64_t h = 0; h < H; ++h) {
    *offsets++ = n;
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t i = 0; i < N; ++i) {
        const std::int64_t first = ((b * H + h) * N + i) * K;
        for (std::int64_t p = first; p < first + K; ++p)
          if (at[p] >= 0) to[n] = b * keys + at[p], edge[n++] = p;
        *offsets++ = n;
      }
  }
  return lists;
}

Lists transpose(const Lists& lists, std::int64_t keys) {
  if (keys < 0) fail("keys", "0 or more", number(keys));
  const engine::Csr from = engine::check_lists(lists, keys);
  Lists to{Tensor(DType::i64, lists.offsets.rank() == 2 ? Shape{from.heads, keys + 1} : Shape{keys + 1}),
           Tensor(DType::i64, {from.entries}), Tensor(DType::i64, {from.entries}), from.rows};
  std::vector<std::int64_t> next(std::size_t(keys), 0);
  for (std::int64_t h = 0; h < from.heads; ++h) {
    std::fill(next.begin(), next.end(), 0);
    const std::int64_t begin = from.offsets[h * (from.lists + 1)], end = from.offsets[(h + 1) * (from.lists + 1) - 1];
    for (std::int64_t p = begin; p < end; ++p) ++next[std::size_t(from.index[p])];
    auto* offsets = to.offsets.data<std::int64_t>() + h * (keys + 1);
    offsets[0] = begin;
    for (std::int64_t j = 0; j < keys; ++j) {
      offsets[j + 1] = offsets[j] + next[std::size_t(j)];
      next[std::size_t(j)] = offsets[j];
    }
    for (std::int64_t i = 0; i < from.lists; ++i)
      for (std::int64_t p = from.of(h, i).begin, last = p + from.of(h, i).size; p < last; ++p) {
        const std::int64_t at = next[std::size_t(from.index[p])]++;
        to.index.data<std::int64_t>()[at] = i;
        to.edge.data<std::int64_t>()[at] = from.edge_of(p);
      }
  }
  return to;
}

}  // namespace v0
}  // namespace heed
