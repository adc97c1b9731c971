// SPDX-License-Identifier: Apache-2.0
// Ops that lay tensors side by side, view them by strides, or make them.
#include <algorithm>
#include <array>
#include <memory>

#include "heed/ops.h"
#include "ops/rows_at.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

void need_any(const Tensor& tensor, const char* argument) {
  if (!tensor.defined()) fail(argument, "a tensor", "none");
}

/// What every row of a joined tensor takes from one source: `size` bytes, the next row's `apart` bytes on.
struct Part {
  const char* from;
  std::size_t size, apart;
};

/// x as rows along which `axis` and what follows are dense, equally far apart; those of `copy` where x has none.
Part part_of(const Tensor& x, int axis, Tensor& copy) {
  const View& v = x.raw_view();
  const auto unit = std::int64_t(size_of(v.dtype));
  bool fits = true;
  std::int64_t run = 1, apart = 0, rows = 1;
  for (int i = v.rank() - 1; i >= axis; --i) {
    fits = fits && (v.extent(i) == 1 || v.stride(i) == run);
    run *= v.extent(i);
  }
  for (int i = axis - 1; i >= 0; --i) {
    if (v.extent(i) == 1) continue;
    fits = fits && (rows == 1 || v.stride(i) == apart * rows);
    if (rows == 1) apart = v.stride(i);
    rows *= v.extent(i);
  }
  if (fits && apart >= 0) return {x.raw<const char>(), std::size_t(run * unit), std::size_t(apart * unit)};
  copy = x.with_origin(nullptr).dense();
  return {copy.raw<const char>(), std::size_t(run * unit), std::size_t(run * unit)};
}

/// `rows` rows of all parts, one after the other. Tasks are whole rows, or pieces of long ones.
void join(int threads, std::int64_t rows, const std::vector<Part>& parts, char* out) {
  std::size_t wide = 0;
  for (const Part& part : parts) wide += part.size;
  if (wide == 0 || rows == 0) return;
  constexpr std::size_t each = 262144;
  const auto cuts = std::int64_t((wide + each - 1) / each);
  sweep(threads, rows * cuts, std::int64_t(131072 / std::min(wide, each)), [&](std::int64_t begin, std::int64_t end) {
    if (cuts == 1) {
      char* to = out + std::size_t(begin) * wide;
      for (auto row = std::size_t(begin); row < std::size_t(end); ++row)
        for (const Part& part : parts) copy_bytes(to, part.from + row * part.apart, part.size), to += part.size;
      return;
    }
    for (std::int64_t job = begin; job < end; ++job) {
      const auto row = std::size_t(job / cuts), first = std::size_t(job % cuts) * each, last = std::min(wide, first + each);
      std::size_t at = 0;
      for (const Part& part : parts) {
        const std::size_t low = std::max(first, at), high = std::min(last, at + part.size);
        if (low < high) copy_bytes(out + row * wide + low, part.from + row * part.apart + (low - at), high - low);
        at += part.size;
      }
    }
  });
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
  std::vector<Tensor> kept(list.size());  // copies of what does not lie in rows
  std::vector<Part> parts;
  parts.reserve(list.size());
  for (std::size_t i = 0; i < list.size(); ++i) parts.push_back(part_of(list[i], axis, kept[i]));
  join(context_.threads, lanes(out.shape(), axis).outer, parts, out.raw<char>());
  const bool recorded =
      recording_ && out.dtype() == DType::f32 && std::any_of(list.begin(), list.end(), [](const Tensor& x) { return x.origin(); });
  if (!recorded) return out;
  std::vector<const Tensor*> inputs;
  std::vector<std::int64_t> sizes;
  for (const Tensor& part : list) inputs.push_back(&part), sizes.push_back(part.extent(axis));
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
  if (shape.count() == 0) return;
  const auto wrong = [&](const std::string& came) { fail("strides", "elements from 0 to " + std::to_string(count - 1), came); };
  if (offset < 0 || offset >= count) wrong("the first at " + std::to_string(offset));
  std::int64_t low = offset, high = offset;
  for (int i = 0; i < shape.rank(); ++i) {
    const std::int64_t stride = strides[std::size_t(i)];
    if (shape[i] > 1 && (stride <= -count || stride >= count || (stride && (shape[i] - 1) >= count / std::abs(stride) + 1)))
      wrong(std::to_string(shape[i]) + " of stride " + std::to_string(stride));
    if (shape[i] > 1) (stride < 0 ? low : high) += stride * (shape[i] - 1);
  }
  if (low < 0 || high >= count) wrong(std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

Tensor Ops::strided(const Tensor& x, const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset) const {
  need(x, DType::f32, "x");
  within(shape, strides, offset, x.count());
  const Tensor from = x.with_origin(nullptr).dense(context_.threads);
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
  const Tensor from = x.with_origin(nullptr).dense(context_.threads);
  Tensor out = Tensor::zeros(DType::f32, shape);
  walk(x.shape(), strides, offset, [&](std::int64_t n, std::int64_t at) { out.raw<float>()[at] += from.raw<float>()[n]; });
  return record("strided_add", out, {&x}, [s = x.shape(), strides, offset](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.strided(p.gradient(), s, strides, offset)};
  });
}

Tensor Ops::one_hot(const Tensor& index, std::int64_t classes) const {
  const Tensor at = indices(context_, index, classes);
  auto extents = index.shape().vector();
  extents.push_back(classes);
  Tensor out = Tensor::zeros(DType::f32, Shape(extents));
  for (std::int64_t i = 0; i < index.count(); ++i) out.raw<float>()[i * classes + at.raw<std::int64_t>()[i]] = 1;
  return out;
}

Tensor Ops::arange(std::int64_t begin, std::int64_t end, std::int64_t step) const {
  if (step == 0) fail("step", "not 0", "0");
  constexpr std::int64_t most = std::int64_t(1) << 62;  // so that no difference overflows
  if (std::min({begin, end, step}) < -most || std::max({begin, end, step}) > most)
    fail("begin, end, step", "numbers of up to 2^62", "larger ones");
  const std::int64_t span = step > 0 ? end - begin : begin - end, stride = step > 0 ? step : -step;
  const std::int64_t count = span > 0 ? (span - 1) / stride + 1 : 0;
  Tensor out(DType::i64, Shape{count});
  for (std::int64_t i = 0; i < count; ++i) out.raw<std::int64_t>()[i] = begin + i * step;
  return out;
}

Tensor Ops::full(const Shape& shape, float value) const {
  Tensor out(DType::f32, shape);
  fill(out.raw<float>(), out.count(), value);
  return out;
}

}  // namespace v0
}  // namespace heed
