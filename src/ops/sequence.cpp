// SPDX-License-Identifier: Apache-2.0
// Words over a sequence: running products, order, bags.
#include <algorithm>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// body(first element, distance of neighbours, offset of the first) for every lane along the axis of a dense tensor.
template <class F>
void each_lane(int threads, const Shape& shape, int axis, F&& body) {
  const Lanes cut = lanes(shape, axis);
  pieces(threads, cut.outer * cut.inner, 4096 / std::max<std::int64_t>(cut.extent, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t lane = begin; lane < end; ++lane) body(lane / cut.inner * cut.extent * cut.inner + lane % cut.inner, cut.inner);
  });
}

}  // namespace

Tensor Ops::cumprod(const Tensor& x, int axis) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.dense();
  Tensor out(DType::f32, x.shape());
  each_lane(context_.threads, x.shape(), axis, [&](std::int64_t at, std::int64_t step) {
    double product = 1;
    for (std::int64_t i = 0; i < x.extent(axis); ++i, at += step) out.raw<float>()[at] = float(product *= from.raw<float>()[at]);
  });
  return record(
      "cumprod", out, {&x},
      [x, axis, n = x.extent(axis)](const Pull& p) -> std::vector<Tensor> {
        if (n == 0) return {p.gradient()};
        // The product before each place times s_i = g_i + x_{i+1} s_{i+1}: no division, zeros are as good as any.
        const Tensor before = p.ops.pad(p.output().slice(axis, 0, n - 1), axis, 1, 0, 1);
        return {p.ops.mul(before, p.ops.recurrence(p.ops.pad(x.slice(axis, 1, n - 1), axis, 0, 1), p.gradient(), axis, true))};
      },
      true);
}

Tensor Ops::argmin(const Tensor& x, int axis, bool keepdim) const {
  return argmax(Ops(context_, false).neg(x.with_origin(nullptr)), axis, keepdim);
}

std::pair<Tensor, Tensor> Ops::sort(const Tensor& x, int axis, bool descending) const {
  const Tensor index = argsort(x, axis, descending);
  return {gather(x, axis, index), index};
}

Tensor Ops::flip(const Tensor& x, const std::vector<int>& axes) const {
  Tensor out = x;
  for (const int axis : axes) out = index_select(out, axis, arange(x.extent(axis_of(axis, x.rank())) - 1, -1, -1));
  return out;
}

Tensor Ops::roll(const Tensor& x, int axis, std::int64_t places) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis), tail = n == 0 ? 0 : (places % n + n) % n;
  return concat({x.slice(axis, n - tail, tail), x.slice(axis, 0, n - tail)}, axis);
}

Tensor Ops::embedding_bag(const Tensor& table, const Tensor& index, const Tensor& offsets, const std::string& mode,
                          const Tensor& weights) const {
  need(table, DType::f32, "table");
  need(index, DType::i64, "index");
  need(offsets, DType::i64, "offsets");
  if (table.rank() != 2) fail("table", "[rows, d]", table.shape().text());
  if (index.rank() != 1) fail("index", "[n]", index.shape().text());
  if (offsets.rank() != 1) fail("offsets", "[bags]", offsets.shape().text());
  if (mode != "sum" && mode != "mean" && mode != "max") fail("mode", "sum, mean or max", mode);
  if (weights.defined() && mode != "sum") fail("weights", "none but for the mode sum", "a tensor");
  if (weights.defined() && weights.shape() != index.shape()) fail("weights", index.shape().text(), weights.shape().text());
  const std::int64_t n = index.count(), bags = offsets.count(), d = table.extent(1);
  const Tensor begin = offsets.dense(), places = index.dense();
  const auto first = [&](std::int64_t bag) { return bag == bags ? n : begin.raw<std::int64_t>()[bag]; };
  if (bags == 0 ? n != 0 : first(0) != 0) fail("offsets", "0 first", bags == 0 ? "none" : std::to_string(first(0)));
  Tensor bag_of(DType::i64, {n}), share(DType::f32, {bags, 1});
  for (std::int64_t bag = 0; bag < bags; ++bag) {
    const std::int64_t size = first(bag + 1) - first(bag);
    if (size < 0 || first(bag) < 0 || first(bag + 1) > n)
      fail("offsets", "ascending numbers up to " + std::to_string(n), std::to_string(first(bag + 1)));
    std::fill_n(bag_of.raw<std::int64_t>() + first(bag), size, bag);
    share.raw<float>()[bag] = size == 0 ? 0.0f : mode == "mean" ? float(1.0 / double(size)) : 1.0f;
  }
  if (mode != "max") {
    Tensor rows = index_select(table, 0, places);
    if (weights.defined()) rows = mul(rows, weights.reshape({n, 1}));
    const Tensor sum = index_add(rows, 0, bag_of, bags);
    return mode == "mean" ? mul(sum, share) : sum;
  }
  for (std::int64_t i = 0; i < n; ++i)
    if (const auto row = places.raw<std::int64_t>()[i]; row < 0 || row >= table.extent(0))
      fail("index", "0 to " + std::to_string(table.extent(0) - 1), std::to_string(row));
  const Tensor values = table.with_origin(nullptr).dense(), chosen = Tensor::zeros(DType::i64, {bags, d});
  for (std::int64_t bag = 0; bag < bags; ++bag)
    for (std::int64_t i = first(bag); i < first(bag + 1); ++i) {
      const std::int64_t row = places.raw<std::int64_t>()[i];
      auto* best = chosen.raw<std::int64_t>() + bag * d;
      for (std::int64_t c = 0; c < d; ++c)
        if (i == first(bag) || values.raw<float>()[row * d + c] > values.raw<float>()[best[c] * d + c]) best[c] = row;
    }
  return mul(gather(table, 0, chosen), share);
}

}  // namespace v0
}  // namespace heed
