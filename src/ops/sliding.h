// SPDX-License-Identifier: Apache-2.0
// Windows that slide over the 1 to 3 last axes of a map, seen as three: a missing leading axis has extent 1.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "heed/tensor.h"
#include "kernel/maps.h"

namespace heed {
inline namespace v0 {
class Ops;
}
}  // namespace heed

namespace heed::ops {

using Triple = std::array<std::int64_t, 3>;

constexpr std::int64_t most_step = (std::int64_t(1) << 31) - 1;  ///< products of two strides, kernels or dilations are integers still

/// A list of options as a triple: one value for every axis or one each.
inline Triple triple(const std::vector<std::int64_t>& list, int axes, std::int64_t absent, std::int64_t least, const char* argument) {
  if (list.size() != 1 && list.size() != std::size_t(axes))
    fail(argument, "one value or " + std::to_string(axes), std::to_string(list.size()) + " values");
  Triple all{absent, absent, absent};
  for (int i = 0; i < axes; ++i) {
    const std::int64_t value = list[list.size() == 1 ? 0 : std::size_t(i)];
    if (value < least || value > most_step)
      fail(argument, std::to_string(least) + " to " + std::to_string(most_step), std::to_string(value));
    all[std::size_t(3 - axes + i)] = value;
  }
  return all;
}

/// The spatial axes of x[B, C, *spatial].
inline int spatial_axes(const Tensor& x) {
  if (x.rank() < 3 || x.rank() > 5) fail("x", "[B, C, *spatial] with 1 to 3 spatial axes", x.shape().text());
  return x.rank() - 2;
}

inline Triple spatial_of(const Shape& shape) {
  Triple all{1, 1, 1};
  for (int i = 2; i < shape.rank(); ++i) all[std::size_t(3 - shape.rank() + i)] = shape[i];
  return all;
}

inline Shape map_shape(std::int64_t batch, std::int64_t channels, int axes, const Triple& spatial) {
  std::vector<std::int64_t> extents{batch, channels};
  extents.insert(extents.end(), spatial.end() - axes, spatial.end());
  return Shape(extents);
}

inline std::int64_t product_of(const Triple& t) { return t[0] * t[1] * t[2]; }

struct Sliding {
  int axes;
  Triple in, kernel, stride, before, dilation, out;  ///< `before`: padding in front of each axis

  std::int64_t taps() const { return product_of(kernel); }
  std::int64_t places() const { return product_of(out); }  ///< of windows
  std::int64_t rows() const { return out[0] * out[1]; }    ///< of places
  std::int64_t reach(int axis) const { return (kernel[std::size_t(axis)] - 1) * dilation[std::size_t(axis)] + 1; }
  /// A stride that no second window takes is 1: rows are parted by it.
  void settle() {
    for (std::size_t a = 0; a < 3; ++a)
      if (out[a] <= 1) stride[a] = 1;
  }
};

/// Maps made ready for the loops: padded, cut to what some window reaches, and each row parted by its phase of the last axis' stride,
/// so that what one tap of a row of windows reads is consecutive.
class Planes {
 public:
  explicit Planes(const Sliding& s);

  std::int64_t size() const { return size_; }    ///< floats of a map
  bool plain() const { return plain_; }          ///< a map is ready as it is
  std::int64_t pitch() const { return pitch_; }  ///< floats of a row of a map made ready
  const std::vector<std::int64_t>& taps() const { return taps_; }
  /// The first float of a row of windows, to which the taps' offsets are added.
  std::int64_t row(std::int64_t r) const { return ((r / s_.out[1] * s_.stride[0]) * high_ + r % s_.out[1] * s_.stride[1]) * pitch_; }
  void load(const kernel::MapTable& loops, const float* map, float* ready, float fill = 0) const;
  /// The reverse: what no window reaches becomes 0, padding is dropped.
  void unload(const float* ready, float* map) const;

 private:
  template <class F>
  void each_phase(F&& body) const;

  Sliding s_;
  std::int64_t high_, pitch_, phase_, size_;
  bool plain_;
  std::vector<std::int64_t> taps_;
  std::vector<std::int64_t> begin_, end_;  ///< of each phase, the places that a row of the map fills
};

/// Every window of x, [B, C, *kernel, *out], `fill` beyond the edges: a view of x or of its padded copy.
Tensor windows_of(const Ops& ops, const Tensor& x, const Sliding& s, float fill);

}  // namespace heed::ops
