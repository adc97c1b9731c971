// SPDX-License-Identifier: Apache-2.0
// What the ops share: checks, broadcasting of shapes, and a dense tensor seen as [outer, extent, inner] around an axis.
#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "heed/tensor.h"

namespace heed::ops {

inline void need(const Tensor& tensor, DType dtype, const char* argument) {
  if (!tensor.defined()) fail(argument, "a tensor", "none");
  if (tensor.dtype() != dtype) fail(argument, name_of(dtype), name_of(tensor.dtype()));
}

inline int axis_of(int axis, int rank) {
  if (axis < -rank || axis >= rank) fail("axis", "an axis of rank " + std::to_string(rank), std::to_string(axis));
  return axis < 0 ? axis + rank : axis;
}

/// The shape that a and b broadcast to.
inline Shape joint(const Shape& a, const Shape& b, const char* argument) {
  const int rank = std::max(a.rank(), b.rank());
  std::array<std::int64_t, max_rank> extents;
  for (int i = -rank; i < 0; ++i) {
    const std::int64_t x = -i > a.rank() ? 1 : a[i], y = -i > b.rank() ? 1 : b[i];
    if (x != y && x != 1 && y != 1) fail(argument, "a shape that broadcasts with " + a.text(), b.text());
    extents[std::size_t(rank + i)] = x == 1 ? y : x;
  }
  return Shape(std::span(extents.data(), std::size_t(rank)));
}

inline Shape with_axis(const Shape& shape, int axis, std::int64_t extent) {
  std::array<std::int64_t, max_rank> extents;
  for (int i = 0; i < shape.rank(); ++i) extents[std::size_t(i)] = i == axis ? extent : shape[i];
  return Shape(std::span(extents.data(), std::size_t(shape.rank())));
}

struct Lanes {
  std::int64_t outer = 1, extent = 1, inner = 1;
};

inline Lanes lanes(const Shape& shape, int axis) {
  Lanes lanes;
  lanes.extent = shape[axis];
  for (int i = 0; i < axis; ++i) lanes.outer *= shape[i];
  for (int i = axis + 1; i < shape.rank(); ++i) lanes.inner *= shape[i];
  return lanes;
}

/// body(begin, end) over [0, count), in a piece a thread where that leaves `unit` or more for each: a thread then finds what it wrote
/// and read the last time in its own cache.
template <class F>
void pieces(int threads, std::int64_t count, std::int64_t unit, F&& body) {
  const std::int64_t most = std::min<std::int64_t>(base::thread_count(threads), count / std::max<std::int64_t>(1, unit));
  if (most <= 1) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
  const std::int64_t even = (count + most - 1) / most, share = even < 4096 ? even : (even + 63) / 64 * 64;
  const auto piece = [=](std::int64_t i, int) { body(i * share, std::min(count, (i + 1) * share)); };
  base::parallel(threads, (count + share - 1) / share, piece);
}

/// The same in blocks of a sixteenth of `unit` to a whole one, the last block first in every other call: a call begins with what the one
/// before left in the caches, which an order that repeats would have driven out by the time it comes there again.
template <class F>
void sweep(int threads, std::int64_t count, std::int64_t unit, F&& body) {
  static thread_local bool back = false;
  back = !back;
  pieces(threads, count, unit, [=, down = back](std::int64_t begin, std::int64_t end) {
    const std::int64_t block = std::max<std::int64_t>({std::min((end - begin) / 8, unit), unit / 16, 1});
    const std::int64_t blocks = (end - begin + block - 1) / block;
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t first = begin + (down ? blocks - 1 - i : i) * block;
      body(first, std::min(end, first + block));
    }
  });
}

}  // namespace heed::ops
