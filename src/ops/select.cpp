// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <numeric>

#include "ops/lanes.h"
#include "ops/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

const char* bytes(const Tensor& tensor) { return tensor.data<const char>(); }

void need_any(const Tensor& tensor, const char* argument) {
  if (!tensor.defined()) fail(argument, "a tensor", "none");
}

/// Dense i64 indices, each in [0, limit).
Tensor checked(const Tensor& index, std::int64_t limit) {
  need(index, DType::i64, "index");
  const Tensor dense = index.dense();
  for (std::int64_t i = 0; i < index.count(); ++i) {
    const std::int64_t value = dense.data<std::int64_t>()[i];
    if (value < 0 || value >= limit) fail("index", "0 to " + std::to_string(limit - 1), std::to_string(value));
  }
  return dense;
}

/// out[o, e, :] = x[o, source(e), :] with `extent` e.
template <class F>
Tensor pick(const Tensor& x, int axis, std::int64_t extent, F&& source) {
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  Tensor out(x.dtype(), with_axis(x.shape(), axis, extent));
  const std::size_t run = std::size_t(cut.inner) * size_of(x.dtype());
  char* to = out.data<char>();
  if (run != 0)
    for (std::int64_t o = 0; o < cut.outer; ++o)
      for (std::int64_t e = 0; e < extent; ++e, to += run) std::memcpy(to, bytes(from) + std::size_t(o * cut.extent + source(e)) * run, run);
  return out;
}

/// Whether a comes before b; NaN counts as the largest.
bool ahead(float a, float b, bool descending) {
  const bool odd = a != a, other = b != b;
  if (odd || other) return odd != other && odd == descending;
  return descending ? a > b : a < b;
}

/// The first k indices of each lane in order, equals by lower index.
Tensor ranked(int threads, const Tensor& x, int axis, std::int64_t k, bool descending) {
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  Tensor out(DType::i64, with_axis(x.shape(), axis, k));
  pieces(threads, cut.outer * cut.inner, 4096 / std::max<std::int64_t>(cut.extent, 1), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> order(std::size_t(cut.extent));
    for (std::int64_t lane = begin; lane < end; ++lane) {
      const std::int64_t o = lane / cut.inner, i = lane % cut.inner;
      const float* v = from.data<float>() + o * cut.extent * cut.inner + i;
      std::iota(order.begin(), order.end(), std::int64_t(0));
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](std::int64_t a, std::int64_t b) {
        const float left = v[a * cut.inner], right = v[b * cut.inner];
        return ahead(left, right, descending) || (!ahead(right, left, descending) && a < b);
      });
      for (std::int64_t e = 0; e < k; ++e) out.data<std::int64_t>()[(o * k + e) * cut.inner + i] = order[std::size_t(e)];
    }
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
        std::memcpy(out.data<char>() + std::size_t(o * total) * unit + at, bytes(from) + std::size_t(o) * run, run);
    at += run;
  }
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
  return pick(x, axis, x.extent(axis) * times, [=](std::int64_t e) { return e / times; });
}

Tensor Ops::gather(const Tensor& x, int axis, const Tensor& index) const {
  need_any(x, "x");
  axis = axis_of(axis, x.rank());
  need(index, DType::i64, "index");
  if (index.rank() != x.rank()) fail("index", "rank " + std::to_string(x.rank()), index.shape().text());
  const Shape shape = with_axis(x.shape(), axis, index.extent(axis));
  const Tensor at = checked(index, x.extent(axis)).broadcast(shape).dense(), from = x.dense();
  Tensor out(x.dtype(), shape);
  const Lanes cut = lanes(shape, axis);
  const std::size_t unit = size_of(x.dtype());
  std::int64_t next = 0;
  for (std::int64_t o = 0; o < cut.outer; ++o)
    for (std::int64_t e = 0; e < cut.extent; ++e)
      for (std::int64_t i = 0; i < cut.inner; ++i, ++next)
        std::memcpy(out.data<char>() + std::size_t(next) * unit,
                    bytes(from) + std::size_t((o * x.extent(axis) + at.data<std::int64_t>()[next]) * cut.inner + i) * unit, unit);
  return out;
}

Tensor Ops::index_select(const Tensor& x, int axis, const Tensor& index) const {
  need_any(x, "x");
  axis = axis_of(axis, x.rank());
  const Tensor at = checked(index, x.extent(axis));
  if (index.rank() != 1) fail("index", "rank 1", index.shape().text());
  return pick(x, axis, index.count(), [&](std::int64_t e) { return at.data<std::int64_t>()[e]; });
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

std::pair<Tensor, Tensor> Ops::topk(const Tensor& x, std::int64_t k, int axis, bool largest) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (k < 0 || k > x.extent(axis)) fail("k", "0 to " + std::to_string(x.extent(axis)), std::to_string(k));
  const Tensor index = ranked(context_.threads, x, axis, k, largest);
  return {gather(x, axis, index), index};
}

Tensor Ops::argsort(const Tensor& x, int axis, bool descending) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  return ranked(context_.threads, x, axis, x.extent(axis), descending);
}

Tensor Ops::one_hot(const Tensor& index, std::int64_t classes) const {
  const Tensor at = checked(index, classes);
  auto extents = index.shape().vector();
  extents.push_back(classes);
  Tensor out = Tensor::zeros(DType::f32, Shape(extents));
  for (std::int64_t i = 0; i < index.count(); ++i) out.data<float>()[i * classes + at.data<std::int64_t>()[i]] = 1;
  return out;
}

Tensor Ops::arange(std::int64_t begin, std::int64_t end, std::int64_t step) const {
  if (step == 0) fail("step", "not 0", "0");
  const std::int64_t span = step > 0 ? end - begin : begin - end, stride = step > 0 ? step : -step;
  const std::int64_t count = span > 0 ? (span + stride - 1) / stride : 0;
  Tensor out(DType::i64, Shape{count});
  for (std::int64_t i = 0; i < count; ++i) out.data<std::int64_t>()[i] = begin + i * step;
  return out;
}

Tensor Ops::full(const Shape& shape, float value) const {
  Tensor out(DType::f32, shape);
  std::fill(out.data<float>(), out.data<float>() + out.count(), value);
  return out;
}

}  // namespace v0
}  // namespace heed
