// SPDX-License-Identifier: Apache-2.0
#include "heed/tape.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/convert.h"
#include "base/float16.h"
#include "base/pool.h"
#include "base/strided.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
    case DType::f16:
      return 2;
    case DType::i64:
      return 8;
    case DType::u8:
    case DType::boolean:
      return 1;
  }
  return 0;
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::bf16:
      return "bf16";
    case DType::f16:
      return "f16";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
    case DType::boolean:
      return "bool";
  }
  return "?";
}

Shape::Shape(std::span<const std::int64_t> extents) {
  if (extents.size() > max_rank) fail("shape", "at most 8 axes", std::to_string(extents.size()));
  std::int64_t product = 1;
  for (auto extent : extents) {
    if (extent < 0) fail("shape", "extents of 0 or more", std::to_string(extent));
    if (extent != 0 && product > std::numeric_limits<std::int64_t>::max() / 16 / extent) fail("shape", "a size that fits 64 bits", "more");
    product *= extent == 0 ? 1 : extent;
    extents_[std::size_t(rank_++)] = extent;
  }
}

std::int64_t Shape::count() const {
  std::int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= extents_[std::size_t(i)];
  return product;
}

std::string Shape::text() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(extents_[std::size_t(i)]);
  return text + "]";
}

bool View::contiguous() const {
  if (count() == 0) return true;
  std::int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (extent(i) != 1 && stride(i) != expected) return false;
    expected *= extent(i);
  }
  return true;
}

View dense_view(void* data, DType dtype, const Shape& shape) {
  View view{data, dtype, shape, {}};
  std::int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    view.strides[std::size_t(i)] = stride;
    stride *= shape[i];
  }
  return view;
}

Tensor::Tensor(DType dtype, const Shape& shape) {
  owner_ = base::allocate(std::size_t(shape.count()) * size_of(dtype));
  view_ = dense_view(owner_.get(), dtype, shape);
}

Tensor Tensor::zeros(DType dtype, const Shape& shape) {
  Tensor tensor(dtype, shape);
  std::memset(tensor.view_.data, 0, std::size_t(shape.count()) * size_of(dtype));
  return tensor;
}

Tensor Tensor::of(const std::vector<float>& values, const Shape& shape) {
  if (std::int64_t(values.size()) != shape.count())
    fail("values", std::to_string(shape.count()) + " values", std::to_string(values.size()));
  Tensor tensor(DType::f32, shape);
  if (!values.empty()) std::memcpy(tensor.view_.data, values.data(), values.size() * sizeof(float));
  return tensor;
}

namespace {

int checked_axis(int axis, int rank) {
  const int positive = axis < 0 ? axis + rank : axis;
  if (positive < 0 || positive >= rank) fail("axis", "an axis of " + std::to_string(rank), std::to_string(axis));
  return positive;
}

View with_shape(const View& view, const std::vector<std::int64_t>& extents, const std::vector<std::int64_t>& strides) {
  View result{view.data, view.dtype, Shape(extents), {}};
  for (std::size_t i = 0; i < strides.size(); ++i) result.strides[i] = strides[i];
  return result;
}

double load(const void* data, DType dtype, std::int64_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<const float*>(data)[i];
    case DType::bf16:
      return base::from_bf16(static_cast<const std::uint16_t*>(data)[i]);
    case DType::f16:
      return base::from_f16(static_cast<const std::uint16_t*>(data)[i]);
    case DType::i64:
      return double(static_cast<const std::int64_t*>(data)[i]);
    case DType::i32:
      return static_cast<const std::int32_t*>(data)[i];
    case DType::u8:
    case DType::boolean:
      return static_cast<const std::uint8_t*>(data)[i];
  }
  return 0;
}

void store(void* data, DType dtype, std::int64_t i, double value) {
  switch (dtype) {
    case DType::f32:
      static_cast<float*>(data)[i] = float(value);
      break;
    case DType::bf16:
      static_cast<std::uint16_t*>(data)[i] = base::to_bf16(float(value));
      break;
    case DType::f16:
      static_cast<std::uint16_t*>(data)[i] = base::to_f16(float(value));
      break;
    case DType::i64:
      static_cast<std::int64_t*>(data)[i] = std::int64_t(value);
      break;
    case DType::i32:
      static_cast<std::int32_t*>(data)[i] = std::int32_t(value);
      break;
    case DType::u8:
      static_cast<std::uint8_t*>(data)[i] = std::uint8_t(value);
      break;
    case DType::boolean:
      static_cast<std::uint8_t*>(data)[i] = value != 0;
      break;
  }
}

/// A view's origin: its step back.
Tensor stepped(const Tensor& from, Tensor to, ViewStep step) {
  if (!from.origin()) return to;
  step.from = from.shape();
  return to.with_origin(std::make_shared<Origin>("view", std::vector<Source>{{from.origin(), from.place()}}, std::move(step)));
}

}  // namespace

const View& Tensor::reached() const {
  fail("tensor", "ops alone to compute with what a gradient is wanted of, or no_gradient()", "access to its memory");
}

Tensor Tensor::with_origin(std::shared_ptr<const Origin> origin, int place) const {
  Tensor result(view_, owner_);
  result.origin_ = std::move(origin);
  result.place_ = place;
  return result;
}

Tensor Tensor::permute(const std::vector<int>& axes) const {
  if (int(axes.size()) != rank()) fail("axes", std::to_string(rank()) + " axes", std::to_string(axes.size()));
  std::vector<std::int64_t> extents, strides;
  std::array<bool, max_rank> seen{};
  for (int axis : axes) {
    const int a = checked_axis(axis, rank());
    if (seen[std::size_t(a)]) fail("axes", "each axis once", std::to_string(axis) + " twice");
    seen[std::size_t(a)] = true;
    extents.push_back(extent(a));
    strides.push_back(stride(a));
  }
  return stepped(*this, {with_shape(view_, extents, strides), owner_}, {ViewStep::Kind::permute, axes, 0, 0, {}});
}

Tensor Tensor::transpose(int a, int b) const {
  std::vector<int> axes;
  for (int i = 0; i < rank(); ++i) axes.push_back(i);
  std::swap(axes[std::size_t(checked_axis(a, rank()))], axes[std::size_t(checked_axis(b, rank()))]);
  return permute(axes);
}

Tensor Tensor::slice(int axis, std::int64_t begin, std::int64_t length) const {
  const int a = checked_axis(axis, rank());
  if (begin < 0 || length < 0 || begin > extent(a) - length)
    fail("slice", "a range within " + std::to_string(extent(a)), std::to_string(begin) + " + " + std::to_string(length));
  auto extents = shape().vector();
  extents[std::size_t(a)] = length;
  View view = view_;
  view.shape = Shape(extents);
  view.data = static_cast<char*>(view.data) + begin * view.strides[std::size_t(a)] * std::int64_t(size_of(view.dtype));
  return stepped(*this, {view, owner_}, {ViewStep::Kind::slice, {}, a, begin, {}});
}

Tensor Tensor::broadcast(const Shape& target) const {
  std::vector<std::int64_t> strides(std::size_t(target.rank()), 0);
  const int lead = target.rank() - rank();
  bool fits = lead >= 0;
  for (int i = 0; fits && i < rank(); ++i) {
    if (extent(i) == target[i + lead])
      strides[std::size_t(i + lead)] = stride(i);
    else
      fits = extent(i) == 1;
  }
  if (!fits) fail("tensor", "a shape that broadcasts to " + target.text(), shape().text());
  return stepped(*this, {with_shape(view_, target.vector(), strides), owner_}, {ViewStep::Kind::broadcast, {}, 0, 0, {}});
}

Tensor Tensor::dense(int threads) const {
  if (view_.contiguous()) return *this;
  Tensor result(dtype(), shape());
  base::copy_dense(view_, result.view_.data, threads);
  return stepped(*this, result, {ViewStep::Kind::reshape, {}, 0, 0, {}});
}

Tensor Tensor::reshape(const Shape& target, int threads) const {
  if (target.count() != count()) fail("shape", std::to_string(count()) + " elements", target.text());
  if (target == shape()) return dense(threads);
  const Tensor source = with_origin(nullptr).dense(threads);
  return stepped(*this, {dense_view(source.view_.data, dtype(), target), source.owner_}, {ViewStep::Kind::reshape, {}, 0, 0, {}});
}

Tensor Tensor::to(DType target) const {
  if (target == dtype()) return dense();
  const Tensor source = with_origin(nullptr).dense();
  Tensor result(target, shape());
  if (!base::convert(source.view_.data, dtype(), result.view_.data, target, count()))
    for (std::int64_t i = 0; i < count(); ++i) store(result.view_.data, target, i, load(source.view_.data, dtype(), i));
  if (target != DType::f32 && target != DType::bf16 && target != DType::f16) return result;
  return stepped(*this, result, {ViewStep::Kind::reshape, {}, 0, 0, {}});
}

}  // namespace v0
}  // namespace heed
