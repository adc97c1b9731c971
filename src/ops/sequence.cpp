// SPDX-License-Identifier: Apache-2.0
// Words over a sequence: running products, order, bags.
#include <algorithm>
#include <array>

#include "heed/ops.h"
#include "ops/picked.h"
#include "ops/rows_at.h"

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
  const Tensor from = x.dense(context_.threads);
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
  if (!x.defined()) fail("x", "a tensor", "none");
  std::array<bool, max_rank> turned{};
  for (const int axis : axes) turned[std::size_t(axis_of(axis, x.rank()))] ^= true;
  std::vector<AxisSource> sources;
  for (int i = 0; i < x.rank(); ++i)
    if (const std::int64_t n = x.extent(i); turned[std::size_t(i)]) sources.push_back(axis_source(i, {{0, n, n - 1, -1}}));
  if (sources.empty()) return x;
  return record("flip", picked(context_, x, std::move(sources)), {&x},
                [axes](const Pull& p) -> std::vector<Tensor> { return {p.ops.flip(p.gradient(), axes)}; });
}

Tensor Ops::roll(const Tensor& x, int axis, std::int64_t places) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis), head = n == 0 ? 0 : (places % n + n) % n;
  AxisSource source = axis_source(axis, {{0, head, n - head, 1}, {head, n, 0, 1}});
  if (head == 0) source.runs.erase(source.runs.begin());
  return record("roll", picked(context_, x, {source}), {&x},
                [axis, places](const Pull& p) -> std::vector<Tensor> { return {p.ops.roll(p.gradient(), axis, -places)}; });
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
  const Tensor begin = offsets.dense(context_.threads);
  const auto first = [&](std::int64_t bag) { return bag == bags ? n : begin.raw<std::int64_t>()[bag]; };
  if (bags == 0 ? n != 0 : first(0) != 0) fail("offsets", "0 first", bags == 0 ? "none" : std::to_string(first(0)));
  const Tensor bag_of(DType::i64, {n}), share(DType::f32, {bags, 1});
  for (std::int64_t bag = 0; bag < bags; ++bag) {
    const std::int64_t size = first(bag + 1) - first(bag);
    if (size < 0 || first(bag) < 0 || first(bag + 1) > n)
      fail("offsets", "ascending numbers up to " + std::to_string(n), std::to_string(first(bag + 1)));
    share.raw<float>()[bag] = size == 0 ? 0.0f : mode == "mean" ? float(1.0 / double(size)) : 1.0f;
  }
  const Tensor rows = indices(context_, index, table.extent(0)), values = table.with_origin(nullptr).dense(context_.threads);
  if (mode != "max") {
    const Tensor factors = weights.defined() ? weights.with_origin(nullptr).dense(context_.threads) : Tensor(), sum(DType::f32, {bags, d});
    // Tasks are some bags, each summed in order.
    sweep(context_.threads, bags, 16384 / std::max<std::int64_t>(1, (n / std::max<std::int64_t>(1, bags) + 1) * d),
          [&](std::int64_t start, std::int64_t end) {
            fill(sum.raw<float>() + start * d, (end - start) * d, 0);
            for (std::int64_t bag = start; bag < end; ++bag)
              std::fill(bag_of.raw<std::int64_t>() + first(bag), bag_of.raw<std::int64_t>() + first(bag + 1), bag);
            kernel::elements_of(context_.isa)
                .add_at(values.raw<float>(), rows.raw<std::int64_t>() + first(start),
                        factors.defined() ? factors.raw<float>() + first(start) : nullptr, first(end) - first(start), d, d,
                        bag_of.raw<std::int64_t>() + first(start), sum.raw<float>());
          });
    const Tensor out =
        record("embedding_bag", sum, {&table, &weights}, [=, extent = table.extent(0)](const Pull& p) -> std::vector<Tensor> {
          const Tensor of = p.ops.index_select(p.gradient(), 0, bag_of);
          return {p.wants(0) ? p.ops.index_add(weights.defined() ? p.ops.mul(of, weights.reshape({n, 1})) : of, 0, rows, extent) : Tensor(),
                  p.wants(1) ? p.ops.sum(p.ops.mul(of, p.ops.index_select(table, 0, rows)), {1}) : Tensor()};
        });
    return mode == "mean" ? mul(out, share) : out;
  }
  const Tensor chosen = Tensor::zeros(DType::i64, {bags, d});
  pieces(context_.threads, bags, 16384 / std::max<std::int64_t>(1, (n / std::max<std::int64_t>(1, bags) + 1) * d),
         [&](std::int64_t start, std::int64_t end) {
           std::vector<float> top(static_cast<std::size_t>(d));
           for (std::int64_t bag = start; bag < end; ++bag) {
             auto* best = chosen.raw<std::int64_t>() + bag * d;
             for (std::int64_t i = first(bag); i < first(bag + 1); ++i) {
               const std::int64_t row = rows.raw<std::int64_t>()[i];
               const float* x = values.raw<float>() + row * d;
               for (std::int64_t c = 0; c < d; ++c) {
                 const bool more = (i == first(bag)) | (x[c] > top[std::size_t(c)]);
                 best[c] = more ? row : best[c];
                 top[std::size_t(c)] = more ? x[c] : top[std::size_t(c)];
               }
             }
           }
         });
  return mul(gather(table, 0, chosen), share);
}

}  // namespace v0
}  // namespace heed
