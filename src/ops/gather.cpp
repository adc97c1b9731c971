// SPDX-License-Identifier: Apache-2.0
// Elements and rows by index: gather, and the sums that are its derivative.
#include <algorithm>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// One index a row of `inner` elements, or (not rows) one an element; both dense.
struct Places {
  Tensor at;
  bool rows;
};

/// The indices of gather and scatter_add over `shape`: those that do not depend on the axes behind `axis` stay one a row.
Places places(const Tensor& index, const Shape& shape, int axis, std::int64_t limit) {
  const Tensor at = indices(index, limit);
  auto extents = shape.vector();
  bool rows = index.rank() == shape.rank() && axis + 1 < shape.rank();
  for (int i = axis + 1; rows && i < shape.rank(); ++i) rows = index.extent(i) == 1;
  for (int i = axis + 1; rows && i < shape.rank(); ++i) extents[std::size_t(i)] = 1;
  return {at.broadcast(Shape(extents)).dense(), rows};
}

/// Adds row (o, e) of x to row (o, place(o * extent + e)) of zeros, in the order of e; tasks share out lanes and columns.
template <class F>
Tensor add_rows(const Context& context, const Tensor& x, int axis, std::int64_t extent, F&& place) {
  const Tensor from = x.dense();
  Tensor out = Tensor::zeros(DType::f32, with_axis(x.shape(), axis, extent));
  const Lanes cut = lanes(x.shape(), axis);
  constexpr std::int64_t block = 256;
  const std::int64_t blocks = (cut.inner + block - 1) / block;
  const auto add = kernel::elements_of(context.isa).add;
  pieces(context.threads, cut.outer * blocks, 16384 / std::max<std::int64_t>(1, cut.extent * std::min(cut.inner, block)),
         [&](std::int64_t begin, std::int64_t end) {
           for (std::int64_t job = begin; job < end; ++job) {
             const std::int64_t o = job / blocks, c = job % blocks * block, wide = std::min(block, cut.inner - c);
             for (std::int64_t e = 0; e < cut.extent; ++e) {
               float* to = out.raw<float>() + (o * extent + place(o * cut.extent + e)) * cut.inner + c;
               const float* row = from.raw<float>() + (o * cut.extent + e) * cut.inner + c;
               if (wide == 1)
                 *to += *row;
               else
                 add(to, 1, row, 1, wide, to);
             }
           }
         });
  return out;
}

}  // namespace

Tensor Ops::gather(const Tensor& x, int axis, const Tensor& index) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  need(index, DType::i64, "index");
  if (index.rank() != x.rank()) fail("index", "rank " + std::to_string(x.rank()), index.shape().text());
  const Shape shape = with_axis(x.shape(), axis, index.extent(axis));
  const auto [at, rows] = places(index, shape, axis, x.extent(axis));
  const Tensor from = x.dense();
  Tensor out(x.dtype(), shape);
  const Lanes cut = lanes(shape, axis);
  const std::int64_t extent = x.extent(axis), *first = at.raw<std::int64_t>();
  const auto copy = [&, by_rows = rows](auto unit) {
    const auto* source = from.raw<decltype(unit)>();
    auto* to = out.raw<decltype(unit)>();
    // Tasks are blocks of rows of one lane.
    const std::int64_t block = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, cut.inner)),
                       blocks = (cut.extent + block - 1) / block;
    pieces(context_.threads, cut.outer * blocks, 16384 / std::max<std::int64_t>(1, std::min(block, cut.extent) * cut.inner),
           [&](std::int64_t begin, std::int64_t end) {
             for (std::int64_t job = begin; job < end; ++job) {
               const std::int64_t o = job / blocks, row = o * cut.extent + job % blocks * block,
                                  rest = std::min(block, (o + 1) * cut.extent - row);
               const auto* lane = source + o * extent * cut.inner;
               auto* at_row = to + row * cut.inner;
               const std::int64_t* place = first + (by_rows ? row : row * cut.inner);
               if (by_rows)
                 for (std::int64_t e = 0; e < rest; ++e, at_row += cut.inner) std::copy_n(lane + place[e] * cut.inner, cut.inner, at_row);
               else if (cut.inner == 1)
                 for (std::int64_t e = 0; e < rest; ++e) at_row[e] = lane[place[e]];
               else
                 for (std::int64_t e = 0; e < rest; ++e, at_row += cut.inner, place += cut.inner)
                   for (std::int64_t i = 0; i < cut.inner; ++i) at_row[i] = lane[place[i] * cut.inner + i];
             }
           });
  };
  switch (size_of(x.dtype())) {
    case 8:
      copy(std::uint64_t{});
      break;
    case 4:
      copy(std::uint32_t{});
      break;
    case 2:
      copy(std::uint16_t{});
      break;
    default:
      copy(std::uint8_t{});
  }
  return record("gather", out, {&x}, [at = at, axis, extent](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.scatter_add(p.gradient(), axis, at, extent)};
  });
}

Tensor Ops::scatter_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const auto [at, rows] = places(index, x.shape(), axis, extent);
  const std::int64_t* first = at.raw<std::int64_t>();
  const auto derivative = [at = at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.gather(p.gradient(), axis, at)}; };
  if (rows)
    return record("scatter_add", add_rows(context_, x, axis, extent, [&](std::int64_t row) { return first[row]; }), {&x}, derivative);
  const Tensor from = x.dense();
  Tensor out = Tensor::zeros(DType::f32, with_axis(x.shape(), axis, extent));
  const Lanes cut = lanes(x.shape(), axis);
  pieces(context_.threads, cut.outer, 16384 / std::max<std::int64_t>(1, cut.extent * cut.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      float* to = out.raw<float>() + o * extent * cut.inner;
      const float* row = from.raw<float>() + o * cut.extent * cut.inner;
      const std::int64_t* place = first + o * cut.extent * cut.inner;
      if (cut.inner == 1)
        for (std::int64_t e = 0; e < cut.extent; ++e) to[place[e]] += row[e];
      else
        for (std::int64_t e = 0; e < cut.extent; ++e, row += cut.inner, place += cut.inner)
          for (std::int64_t i = 0; i < cut.inner; ++i) to[place[i] * cut.inner + i] += row[i];
    }
  });
  return record("scatter_add", out, {&x}, derivative);
}

Tensor Ops::index_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (index.shape() != Shape{x.extent(axis)}) fail("index", Shape{x.extent(axis)}.text(), index.shape().text());
  const Tensor at = indices(index, extent);
  const Tensor out = add_rows(context_, x, axis, extent,
                              [n = x.extent(axis), first = at.raw<std::int64_t>()](std::int64_t row) { return first[row % n]; });
  return record("index_add", out, {&x},
                [at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.index_select(p.gradient(), axis, at)}; });
}

}  // namespace v0
}  // namespace heed
