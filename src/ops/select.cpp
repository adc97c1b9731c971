// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

const char* bytes(const Tensor& tensor) { return tensor.raw<const char>(); }

void need_any(const Tensor& tensor, const char* argument) {
  if (!tensor.defined()) fail(argument, "a tensor", "none");
}

/// Dense i64 indices, each in [0, limit).
Tensor checked(const Tensor& index, std::int64_t limit) {
  need(index, DType::i64, "index");
  const Tensor dense = index.dense();
  const auto* at = dense.raw<std::int64_t>();
  const std::int64_t n = index.count();
  std::uint64_t wrong = 0;  // the highest bit is set once a number or its distance to the limit is negative
  for (std::int64_t i = 0; i < n; ++i) wrong |= std::uint64_t(at[i]) | (std::uint64_t(limit - 1) - std::uint64_t(at[i]));
  if (wrong >> 63)
    for (std::int64_t i = 0; i < n; ++i)
      if (at[i] < 0 || at[i] >= limit) fail("index", "0 to " + std::to_string(limit - 1), std::to_string(at[i]));
  return dense;
}

/// out[o, e, :] = x[o, source(e), :] with `extent` e.
template <class F>
Tensor pick(int threads, const Tensor& x, int axis, std::int64_t extent, F&& source) {
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  Tensor out(x.dtype(), with_axis(x.shape(), axis, extent));
  const std::size_t run = std::size_t(cut.inner) * size_of(x.dtype());
  if (run == 0 || extent == 0) return out;
  pieces(threads, cut.outer * extent, std::int64_t(65536 / run), [&](std::int64_t begin, std::int64_t end) {
    char* to = out.raw<char>() + std::size_t(begin) * run;
    for (std::int64_t row = begin; row < end; ++row, to += run)
      std::memcpy(to, bytes(from) + std::size_t(row / extent * cut.extent + source(row % extent)) * run, run);
  });
  return out;
}

}  // namespace

Tensor Ops::concat(const std::vector<Tensor>& list, int axis) const {
  if (list.empty()) fail("list", "a tensor or more", "none");
  for (const Tensor& part : list) need_any(part, "list");
  const Tensor& first = list.front();
  axis = axis_of(axis, first.rank());
  std::int64_t total = 0;
  for (const Tensor& part : list) {
    if (part.dtype() != first.dtype()) fail("list", name_of(first.dtype()), name_of(part.dtype()));
    if (part.rank() != first.rank() || with_axis(part.shape(), axis, 1) != with_axis(first.shape(), axis, 1))
      fail("list", first.shape().text() + " but for axis " + std::to_string(axis), part.shape().text());
    total += part.extent(axis);
  }
  Tensor out(first.dtype(), with_axis(first.shape(), axis, total));
  const Lanes cut = lanes(out.shape(), axis);
  const std::size_t unit = std::size_t(cut.inner) * size_of(first.dtype());
  std::size_t at = 0;
  for (const Tensor& part : list) {
    const Tensor from = part.dense();
    const std::size_t run = std::size_t(part.extent(axis)) * unit;
    if (run != 0)
      for (std::int64_t o = 0; o < cut.outer; ++o)
        std::memcpy(out.raw<char>() + std::size_t(o * total) * unit + at, bytes(from) + std::size_t(o) * run, run);
    at += run;
  }
  std::vector<const Tensor*> inputs;
  std::vector<std::int64_t> sizes;
  for (const Tensor& part : list) inputs.push_back(&part), sizes.push_back(part.extent(axis));
  if (out.dtype() == DType::f32)
    record("concat", {&out}, inputs, [axis, sizes](const Pull& p) { return p.ops.split(p.gradient(), axis, sizes); });
  return out;
}

std::vector<Tensor> Ops::split(const Tensor& x, int axis, const std::vector<std::int64_t>& sizes) const {
  need_any(x, "x");
  axis = axis_of(axis, x.rank());
  std::int64_t left = x.extent(axis);
  for (const auto size : sizes) {
    if (size < 0 || size > left) fail("sizes", "a sum of " + std::to_string(x.extent(axis)), "a part of " + std::to_string(size));
    left -= size;
  }
  if (left != 0) fail("sizes", "a sum of " + std::to_string(x.extent(axis)), std::to_string(x.extent(axis) - left));
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const auto size : sizes) {
    parts.push_back(x.slice(axis, begin, size));
    begin += size;
  }
  return parts;
}

Tensor Ops::stack(const std::vector<Tensor>& list, int axis) const {
  if (list.empty()) fail("list", "a tensor or more", "none");
  std::vector<Tensor> parts;
  for (const Tensor& part : list) {
    need_any(part, "list");
    if (part.shape() != list.front().shape()) fail("list", list.front().shape().text(), part.shape().text());
    auto extents = part.shape().vector();
    extents.insert(extents.begin() + axis_of(axis, part.rank() + 1), 1);
    parts.push_back(part.reshape(Shape(extents)));
  }
  return concat(parts, axis);
}

Tensor Ops::repeat(const Tensor& x, int axis, std::int64_t times) const {
  need_any(x, "x");
  axis = axis_of(axis, x.rank());
  if (times < 0) fail("times", "0 or more", std::to_string(times));
  const Tensor out = pick(context_.threads, x, axis, x.extent(axis) * times, [=](std::int64_t e) { return e / times; });
  return record("repeat", out, {&x}, [s = x.shape(), axis, times](const Pull& p) -> std::vector<Tensor> {
    auto extents = s.vector();
    extents.insert(extents.begin() + axis + 1, times);
    return {p.ops.sum(p.gradient().reshape(Shape(extents)), {axis + 1})};
  });
}

namespace {

/// One index a row of `inner` elements, or (not rows) one an element; both dense.
struct Places {
  Tensor at;
  bool rows;
};

/// The indices of gather and scatter_add over `shape`: those that do not depend on the axes behind `axis` stay one a row.
Places places(const Tensor& index, const Shape& shape, int axis, std::int64_t limit) {
  const Tensor at = checked(index, limit);
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
  need_any(x, "x");
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
  const Tensor at = checked(index, extent);
  const Tensor out = add_rows(context_, x, axis, extent,
                              [n = x.extent(axis), first = at.raw<std::int64_t>()](std::int64_t row) { return first[row % n]; });
  return record("index_add", out, {&x},
                [at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.index_select(p.gradient(), axis, at)}; });
}

namespace {

/// visit(place in dense order, offset) over the elements of a strided view.
template <class F>
void walk(const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset, F&& visit) {
  const std::int64_t count = shape.count();
  std::array<std::int64_t, max_rank> index{};
  for (std::int64_t n = 0; n < count; ++n) {
    visit(n, offset);
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const auto a = std::size_t(axis);
      offset += strides[a];
      if (++index[a] < shape[axis]) break;
      offset -= strides[a] * shape[axis];
      index[a] = 0;
    }
  }
}

/// Throws unless every element lies in [0, count).
void within(const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset, std::int64_t count) {
  if (int(strides.size()) != shape.rank()) fail("strides", std::to_string(shape.rank()) + " numbers", std::to_string(strides.size()));
  std::int64_t low = offset, high = offset;
  if (shape.count() == 0) return;
  for (int i = 0; i < shape.rank(); ++i) (strides[std::size_t(i)] < 0 ? low : high) += strides[std::size_t(i)] * (shape[i] - 1);
  if (low < 0 || high >= count)
    fail("strides", "elements from 0 to " + std::to_string(count - 1), std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

Tensor Ops::strided(const Tensor& x, const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset) const {
  need(x, DType::f32, "x");
  within(shape, strides, offset, x.count());
  const Tensor from = x.with_origin(nullptr).dense();
  View view = from.raw_view();
  view.data = from.raw<float>() + offset;
  view.shape = shape;
  std::copy(strides.begin(), strides.end(), view.strides.begin());
  return record("strided", Tensor(view, std::make_shared<Tensor>(from)), {&x},
                [s = x.shape(), strides, offset](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.strided_add(p.gradient(), s, strides, offset)};
                });
}

Tensor Ops::strided_add(const Tensor& x, const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset) const {
  need(x, DType::f32, "x");
  within(x.shape(), strides, offset, shape.count());
  const Tensor from = x.with_origin(nullptr).dense();
  Tensor out = Tensor::zeros(DType::f32, shape);
  walk(x.shape(), strides, offset, [&](std::int64_t n, std::int64_t at) { out.raw<float>()[at] += from.raw<float>()[n]; });
  return record("strided_add", out, {&x}, [s = x.shape(), strides, offset](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.strided(p.gradient(), s, strides, offset)};
  });
}

Tensor Ops::index_select(const Tensor& x, int axis, const Tensor& index) const {
  need_any(x, "x");
  axis = axis_of(axis, x.rank());
  const Tensor at = checked(index, x.extent(axis));
  if (index.rank() != 1) fail("index", "rank 1", index.shape().text());
  const Tensor out = pick(context_.threads, x, axis, index.count(), [&](std::int64_t e) { return at.raw<std::int64_t>()[e]; });
  return record("index_select", out, {&x}, [at, axis, extent = x.extent(axis)](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.index_add(p.gradient(), axis, at, extent)};
  });
}

Tensor Ops::pad(const Tensor& x, int axis, std::int64_t before, std::int64_t after, float value) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (before < 0 || after < 0) fail("before, after", "0 or more", std::to_string(before) + ", " + std::to_string(after));
  return concat({full(with_axis(x.shape(), axis, before), value), x, full(with_axis(x.shape(), axis, after), value)}, axis);
}

Tensor Ops::embedding(const Tensor& table, const Tensor& index) const {
  need(table, DType::f32, "table");
  if (table.rank() != 2) fail("table", "[rows, d]", table.shape().text());
  need(index, DType::i64, "index");
  auto extents = index.shape().vector();
  extents.push_back(table.extent(1));
  return index_select(table, 0, index.reshape(Shape{index.count()})).reshape(Shape(extents));
}

Tensor Ops::one_hot(const Tensor& index, std::int64_t classes) const {
  const Tensor at = checked(index, classes);
  auto extents = index.shape().vector();
  extents.push_back(classes);
  Tensor out = Tensor::zeros(DType::f32, Shape(extents));
  for (std::int64_t i = 0; i < index.count(); ++i) out.raw<float>()[i * classes + at.raw<std::int64_t>()[i]] = 1;
  return out;
}

Tensor Ops::arange(std::int64_t begin, std::int64_t end, std::int64_t step) const {
  if (step == 0) fail("step", "not 0", "0");
  const std::int64_t span = step > 0 ? end - begin : begin - end, stride = step > 0 ? step : -step;
  const std::int64_t count = span > 0 ? (span + stride - 1) / stride : 0;
  Tensor out(DType::i64, Shape{count});
  for (std::int64_t i = 0; i < count; ++i) out.raw<std::int64_t>()[i] = begin + i * step;
  return out;
}

Tensor Ops::full(const Shape& shape, float value) const {
  Tensor out(DType::f32, shape);
  std::fill(out.raw<float>(), out.raw<float>() + out.count(), value);
  return out;
}

}  // namespace v0
}  // namespace heed
