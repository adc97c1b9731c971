// SPDX-License-Identifier: Apache-2.0
// Attention over lists of keys as ops.
#include "heed/lists.h"

#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr int terms = 8;

ListInputs views_of(const ListTensors& t) {
  const auto view = [](const Tensor& x) { return x.defined() ? std::optional<View>(x.raw_view()) : std::nullopt; };
  return {view(t.q), view(t.k), view(t.v), view(t.source), view(t.target), view(t.att), view(t.bias), view(t.features)};
}

std::vector<const Tensor*> list_of(const ListTensors& t) { return {&t.q, &t.k, &t.v, &t.source, &t.target, &t.att, &t.bias, &t.features}; }

/// Sizes that the inputs tell.
struct Sizes {
  std::int64_t N, H, M, G, W, L, rows;
  Sizes(const ListTensors& t, const Lists& lists) {
    if (!lists.offsets.defined() || lists.offsets.rank() < 1) fail("offsets", "i64 (N+1) or (H, N+1)", "none");
    if (!lists.index.defined()) fail("index", "i64 (entries)", "none");
    const auto want = [](const char* name, const Tensor& x, int rank) {
      if (x.defined() && x.rank() != rank) fail(name, "rank " + std::to_string(rank), x.shape().text());
    };
    want("q", t.q, 3), want("k", t.k, 3), want("v", t.v, 3), want("source", t.source, 2), want("target", t.target, 2),
        want("bias", t.bias, 2);
    const bool own = lists.offsets.rank() == 2;
    N = lists.offsets.extent(-1) - 1;
    H = t.q.defined()        ? t.q.extent(1)
        : t.target.defined() ? t.target.extent(1)
        : own                ? lists.offsets.extent(0)
        : t.bias.defined()   ? t.bias.extent(1)
                             : 0;
    const Tensor& keys = t.k.defined() ? t.k : t.source.defined() ? t.source : t.v;
    M = keys.defined() ? keys.extent(0) : 0;
    G = t.k.defined() ? t.k.extent(1) : t.v.defined() ? t.v.extent(1) : H;
    W = t.v.defined() ? t.v.extent(2) : 0;
    L = own && lists.offsets.extent(0) > 1 ? 1 : H;
    rows = lists.rows < 0 ? lists.index.count() : lists.rows;
  }
};

}  // namespace

Attended Ops::attend_lists(const ListTensors& tensors, const Lists& lists, const ListOptions& options, unsigned extras) const {
  const Sizes s(tensors, lists);
  if ((extras & (want_row_max | want_column_sums)) != 0) fail("extras", "want_lse, want_weights", std::to_string(extras));
  Attended result;
  ListOutputs into;
  const auto make = [&](bool wanted, DType dtype, const Shape& shape, Tensor& tensor, std::optional<View>& view) {
    if (!wanted) return;
    tensor = Tensor(dtype, shape);
    view = tensor.raw_view();
  };
  make(tensors.v.defined(), tensors.v.dtype(), {s.N, s.H, s.W}, result.out, into.out);
  make((extras & want_lse) != 0, DType::f32, {s.N, s.H}, result.lse, into.lse);
  make((extras & want_weights) != 0, DType::f32, {s.rows, s.L}, result.weights, into.weights);
  heed::attend_lists(views_of(tensors), lists, into, options, context_);
  record("attend_lists", {&result.out, &result.lse, &result.weights}, list_of(tensors), [tensors, lists, options](const Pull& p) {
    const auto inputs = list_of(tensors);
    std::vector<const Tensor*> all = inputs;
    for (int i = 0; i < 3; ++i) all.push_back(&p.gradient(i));
    if (p.ops.wanted(all)) fail("gradient of attend_lists", "to be differentiated once (attend_lists_plain can be again)", "twice");
    std::vector<Tensor> found(terms), kept;
    ListInputs into;
    std::optional<View>* to[terms] = {&into.q, &into.k, &into.v, &into.source, &into.target, &into.att, &into.bias, &into.features};
    for (std::size_t i = 0; i < terms; ++i)
      if (p.wants(int(i))) *to[i] = (found[i] = Tensor(DType::f32, inputs[i]->shape())).raw_view();
    ListOutputs given;
    std::optional<View>* from[3] = {&given.out, &given.lse, &given.weights};
    for (int i = 0; i < 3; ++i)
      if (p.gradient(i).defined()) *from[i] = p.gradient(i).raw_view();
    attend_lists_backward(views_of(tensors), lists, given, into, options, p.ops.context());
    return found;
  });
  return result;
}

Attended Ops::attend_lists_plain(const ListTensors& t, const Lists& lists, const ListOptions& options, unsigned extras) const {
  const Sizes s(t, lists);
  heed::attend_lists(views_of(t), lists, {}, options, context_);  // checks everything
  // A row for each entry and head: of the queries (N H), keys (M G), heads, per-edge tensors (rows L).
  const std::int64_t heads = s.L == s.H ? 1 : s.H, count = lists.index.count() * s.L;
  Tensor query(DType::i64, {count}), key(DType::i64, {count}), keyed(DType::i64, {count}), head(DType::i64, {count}),
      row(DType::i64, {count});
  const Tensor offsets = lists.offsets.dense(context_.threads), index = lists.index.dense(context_.threads),
               edge = lists.edge.defined() ? lists.edge.dense(context_.threads) : Tensor();
  const auto* range = offsets.raw<std::int64_t>();
  std::int64_t n = 0;
  for (std::int64_t own = 0; own < heads; ++own, ++range)
    for (std::int64_t i = 0; i < s.N; ++i, ++range)
      for (std::int64_t e = range[0]; e < range[1]; ++e)
        for (std::int64_t l = 0; l < s.L; ++l, ++n) {
          const std::int64_t h = s.L == s.H ? l : own, j = index.raw<std::int64_t>()[e];
          query.raw<std::int64_t>()[n] = i * s.H + h;
          key.raw<std::int64_t>()[n] = j * s.G + h * s.G / s.H;
          keyed.raw<std::int64_t>()[n] = j * s.H + h;
          head.raw<std::int64_t>()[n] = h;
          row.raw<std::int64_t>()[n] = (edge.defined() ? edge.raw<std::int64_t>()[e] : e) * s.L + l;
        }
  const auto rows = [&](const Tensor& x, const Tensor& at, bool wide) {
    const Tensor flat =
        x.to(DType::f32).reshape(wide ? Shape{x.count() / std::max<std::int64_t>(x.extent(-1), 1), x.extent(-1)} : Shape{x.count()});
    return index_select(flat, 0, at);
  };
  const auto with_bias = [&](const Tensor& x) { return t.bias.defined() ? add(x, rows(t.bias, row, false)) : x; };
  const auto keys = [&] {
    const Tensor k = rows(t.k, key, true);
    return t.features.defined() ? add(k, rows(t.features, row, true)) : k;
  };
  Tensor score;
  switch (options.score) {
    case ListScore::dot: {
      const float factor = options.scale.value_or(1 / std::sqrt(float(std::max<std::int64_t>(t.q.extent(2), 1))));
      score = with_bias(scale(sum(mul(rows(t.q, query, true), keys()), {1}), factor));
      break;
    }
    case ListScore::leaky:
      score = with_bias(sum(mul(rows(t.att, head, true), leaky_relu(add(rows(t.q, query, true), keys()), options.negative_slope)), {1}));
      break;
    case ListScore::additive:
      score = leaky_relu(with_bias(add(rows(t.source, keyed, false), rows(t.target, query, false))), options.negative_slope);
      break;
    case ListScore::edge:
      score = rows(t.bias, row, false);
      break;
  }
  Attended result;
  Tensor weights = score;
  if (options.softmax) {
    const Tensor top = no_gradient(segment_max(score, query, s.N * s.H), "the maximum cancels"), none = full({}, 0);
    const Tensor reference = where(less(full({}, -infinity), top), top, none);
    const Tensor e = exp(sub(score, index_select(reference, 0, query))), total = index_add(e, 0, query, s.N * s.H);
    const Tensor empty = equal(total, none), divisor = where(empty, full({}, 1), total);
    weights = div(e, index_select(divisor, 0, query));
    if ((extras & want_lse) != 0) result.lse = where(empty, full({}, -infinity), add(reference, log(divisor))).reshape({s.N, s.H});
  }
  if (t.v.defined()) {
    const Tensor products = mul(weights.reshape({count, 1}), rows(t.v, key, true));
    result.out = index_add(products, 0, query, s.N * s.H).reshape({s.N, s.H, s.W}).to(t.v.dtype());
  }
  if ((extras & want_weights) != 0) result.weights = index_add(weights, 0, row, s.rows * s.L).reshape({s.rows, s.L});
  return result;
}

Attended Ops::merge(const Attended& a, const Attended& b) const {
  const auto column = [&](const Attended& part) {
    if (!part.out.defined() || !part.lse.defined()) fail("merge", "out and lse", part.out.defined() ? "no lse" : "no out");
    auto extents = part.out.shape().vector();
    if (extents.empty()) fail("out", "(B, N, H, E) or (..., E)", part.out.shape().text());
    extents.pop_back();
    if (extents.size() == 3) std::swap(extents[1], extents[2]);
    if (part.lse.shape() != Shape(extents))
      fail("lse", Shape(extents).text() + " with out " + part.out.shape().text(), part.lse.shape().text());
    const Tensor lse = part.out.rank() == 4 ? part.lse.permute({0, 2, 1}) : part.lse;
    extents = part.out.shape().vector();
    extents.back() = 1;
    return lse.reshape(Shape(extents));
  };
  const Tensor left = column(a), right = column(b), none = full({}, 0), nothing = full({}, -infinity);
  const Tensor top = no_gradient(maximum(left, right), "the maximum cancels"), reference = where(less(nothing, top), top, none);
  const Tensor x = exp(sub(left, reference)), y = exp(sub(right, reference)), total = add(x, y), empty = equal(total, none);
  const Tensor divisor = where(empty, full({}, 1), total);
  Attended result;
  result.out = div(add(mul(a.out.to(DType::f32), x), mul(b.out.to(DType::f32), y)), divisor);
  const Tensor lse = where(empty, nothing, add(reference, log(divisor)));
  auto extents = lse.shape().vector();
  extents.pop_back();
  result.lse = lse.reshape(Shape(extents));
  if (a.out.rank() == 4) result.lse = result.lse.permute({0, 2, 1});
  return result;
}

}  // namespace v0
}  // namespace heed
