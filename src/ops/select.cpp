// SPDX-License-Identifier: Apache-2.0
// Ops that lay tensors side by side, or take parts of them whole.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

const char* bytes(const Tensor& tensor) { return tensor.raw<const char>(); }

void need_any(const Tensor& tensor, const char* argument) {
  if (!tensor.defined()) fail(argument, "a tensor", "none");
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
  const Tensor at = indices(index, x.extent(axis));
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
  const Tensor at = indices(index, classes);
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
