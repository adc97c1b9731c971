// SPDX-License-Identifier: Apache-2.0
// Elements taken along axes by lists of places: what padding, selections, turns and the nearest element have in common.
#pragma once
#include <vector>

#include "heed/context.h"
#include "ops/lanes.h"

namespace heed::ops {

/// body(a number of the dtype's size).
template <class F>
void by_size(DType dtype, F&& body) {
  switch (size_of(dtype)) {
    case 8:
      return body(std::uint64_t{});
    case 4:
      return body(std::uint32_t{});
    case 2:
      return body(std::uint16_t{});
    default:
      return body(std::uint8_t{});
  }
}

/// Elements [begin, end) of an axis of a result: x's elements from, from + step, ... (step 1, 0 or -1), or the fill where `from` is below
/// 0.
struct Run {
  std::int64_t begin, end, from, step;
};

/// What an axis of a result is: runs that follow each other, or (none) x's element source[e] for e < count.
struct AxisSource {
  int axis;
  std::int64_t count;
  std::vector<Run> runs;
  const std::int64_t* source = nullptr;
};
AxisSource axis_source(int axis, std::vector<Run> runs);
AxisSource axis_source(int axis, const std::int64_t* source, std::int64_t count);
/// Runs as a list; -1 for a fill.
std::vector<std::int64_t> places_of(const std::vector<Run>& runs);

/// x, of any dtype and strides, with such axes, which ascend; places are not checked. A fill is a number of f32. All axes in one pass.
Tensor picked(const Context& context, const Tensor& x, std::vector<AxisSource> axes, float fill = 0);

}  // namespace heed::ops
