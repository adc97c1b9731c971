// SPDX-License-Identifier: Apache-2.0
// Views and tensors: any rank up to 8, any strides (0 and negative included), extents that may be 0.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "heed/error.h"

namespace heed {
inline namespace v0 {

enum class DType : std::uint8_t { f32, bf16, f16, i64, i32, u8, boolean };

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "f32", "bf16", "f16", "i64", "i32", "u8", "bool".
const char* name_of(DType dtype);

inline constexpr int max_rank = 8;

/// The extents of a tensor, at most eight. Throws Error for more, for a negative extent, or when the product overflows.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  /// Extent of an axis; a negative axis counts from the end.
  std::int64_t operator[](int axis) const { return extents_[std::size_t(axis < 0 ? axis + rank_ : axis)]; }
  std::int64_t count() const;
  std::vector<std::int64_t> vector() const { return {extents_.begin(), extents_.begin() + rank_}; }
  bool operator==(const Shape& other) const = default;
  /// "[2, 9, 32]".
  std::string text() const;

 private:
  std::array<std::int64_t, max_rank> extents_{};  // 0 beyond the rank
  int rank_ = 0;
};

/// Elements somewhere in memory that somebody else owns. Strides are in elements.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  std::array<std::int64_t, max_rank> strides{};

  int rank() const { return shape.rank(); }
  std::int64_t extent(int axis) const { return shape[axis]; }
  std::int64_t stride(int axis) const { return strides[std::size_t(axis < 0 ? axis + rank() : axis)]; }
  std::int64_t count() const { return shape.count(); }
  bool contiguous() const;
};

/// A view over dense row-major memory.
View dense_view(void* data, DType dtype, const Shape& shape);

struct Origin;  // heed/tape.h

/// Reference-counted storage behind a view; copies, slices and transposes share it. Where a gradient is wanted a tensor also
/// knows its origin, which the methods that give views carry on; its memory is then out of reach but for the ops, so that
/// nothing computes with it behind the tape's back.
class Tensor {
 public:
  Tensor() = default;
  /// New storage of 64-byte alignment, not initialised.
  Tensor(DType dtype, const Shape& shape);
  Tensor(View view, std::shared_ptr<void> owner) : view_(view), owner_(std::move(owner)) {}
  /// Zero-filled.
  static Tensor zeros(DType dtype, const Shape& shape);
  static Tensor of(const std::vector<float>& values, const Shape& shape);

  bool defined() const { return owner_ != nullptr; }
  /// Throws where a gradient is wanted, like data(): no_gradient() of heed/ops.h says that none is.
  const View& view() const { return origin_ ? reached() : view_; }
  operator const View&() const { return view(); }
  DType dtype() const { return view_.dtype; }
  const Shape& shape() const { return view_.shape; }
  int rank() const { return view_.rank(); }
  std::int64_t extent(int axis) const { return view_.extent(axis); }
  std::int64_t stride(int axis) const { return view_.stride(axis); }
  std::int64_t count() const { return view_.count(); }
  /// The first element; T must fit the dtype (not checked). Throws where a gradient is wanted.
  template <class T>
  T* data() const {
    return static_cast<T*>(view().data);
  }
  /// The same for the ops, which record what they do.
  template <class T>
  T* raw() const {
    return static_cast<T*>(view_.data);
  }
  const View& raw_view() const { return view_; }

  /// Null where no gradient is wanted; `place` tells the outputs of one op apart.
  const std::shared_ptr<const Origin>& origin() const { return origin_; }
  int place() const { return place_; }
  /// The same elements with another origin, or none.
  Tensor with_origin(std::shared_ptr<const Origin> origin, int place = 0) const;

  /// Views of the same storage.
  Tensor permute(const std::vector<int>& axes) const;
  Tensor transpose(int a, int b) const;
  /// Elements [begin, begin + length) of an axis.
  Tensor slice(int axis, std::int64_t begin, std::int64_t length) const;
  /// Axes of extent 1 stretched to `shape`, numpy's rules. Throws where they do not fit.
  Tensor broadcast(const Shape& shape) const;
  /// Same elements in row-major order under another shape; copies only where strides demand it, as dense() does.
  Tensor reshape(const Shape& shape, int threads = 1) const;
  /// Dense row-major; itself when it is already. A large copy is made by `threads` (0: as many as OpenMP would use): a context's.
  Tensor dense(int threads = 1) const;
  /// Dense and of another dtype; floats round to nearest even; itself when nothing changes. Only floats keep their origin.
  Tensor to(DType dtype) const;

 private:
  [[noreturn]] const View& reached() const;

  View view_;
  std::shared_ptr<void> owner_;
  std::shared_ptr<const Origin> origin_;
  int place_ = 0;
};

}  // namespace v0
}  // namespace heed
