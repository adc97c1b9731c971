// SPDX-License-Identifier: Apache-2.0
#include "ops/sliding.h"

#include <algorithm>

#include "heed/ops.h"
#include "base/copy.h"

namespace heed::ops {

Planes::Planes(const Sliding& s) : s_(s) {
  const auto reached = [&](int a) {
    const std::int64_t places = s.out[std::size_t(a)];
    return places == 0 ? 0 : (places - 1) * s.stride[std::size_t(a)] + s.reach(a);
  };
  high_ = reached(1);
  phase_ = (reached(2) + s.stride[2] - 1) / s.stride[2];
  pitch_ = phase_ * s.stride[2];
  size_ = reached(0) * high_ * pitch_;
  plain_ = s.stride[2] == 1 && s.before == Triple{0, 0, 0} && Triple{reached(0), high_, pitch_} == s.in;
  const std::int64_t stride = s.stride[2], wide = s.in[2], before = s.before[2];
  for (std::int64_t p = 0; p < stride; ++p) {  // places i with 0 <= p + stride i - before < wide
    begin_.push_back(std::min(phase_, std::max<std::int64_t>(0, (before - p + stride - 1) / stride)));
    end_.push_back(std::max(begin_.back(), std::min(phase_, (wide + before - p + stride - 1) / stride)));
  }
  for (std::int64_t d = 0; d < s.kernel[0]; ++d)
    for (std::int64_t h = 0; h < s.kernel[1]; ++h)
      for (std::int64_t w = 0; w < s.kernel[2]; ++w) {
        const std::int64_t column = w * s.dilation[2];
        taps_.push_back((d * s.dilation[0] * high_ + h * s.dilation[1]) * pitch_ + column % s.stride[2] * phase_ + column / s.stride[2]);
      }
}

/// body(its first float, where the map would have its place 0, and the places [begin, end) that the map fills) for each phase of a row.
template <class F>
void Planes::each_phase(F&& body) const {
  if (size_ == 0) return;
  const std::int64_t deep = size_ / pitch_ / high_, stride = s_.stride[2];
  std::int64_t row = 0;
  for (std::int64_t d = -s_.before[0]; d < deep - s_.before[0]; ++d)
    for (std::int64_t h = -s_.before[1]; h < high_ - s_.before[1]; ++h, row += pitch_) {
      const bool outside = d < 0 || h < 0 || d >= s_.in[0] || h >= s_.in[1];
      const std::int64_t from = (d * s_.in[1] + h) * s_.in[2] - s_.before[2];
      for (std::int64_t p = 0; p < stride; ++p) {
        const auto at = std::size_t(p);
        body(row + p * phase_, from + p, outside ? 0 : begin_[at], outside ? 0 : end_[at]);
      }
    }
}

void Planes::load(const kernel::MapTable& loops, const float* map, float* ready, float fill) const {
  const std::int64_t stride = s_.stride[2];
  each_phase([&](std::int64_t place, std::int64_t from, std::int64_t begin, std::int64_t end) {
    float* to = ready + place;
    base::fill(to, begin, fill);
    if (stride == 1)
      base::copy_bytes(reinterpret_cast<char*>(to + begin), reinterpret_cast<const char*>(map + from + begin),
                       std::size_t(end - begin) * sizeof(float));
    else if (begin < end)
      loops.skip(map + from + stride * begin, stride, to + begin, end - begin);
    base::fill(to + end, phase_ - end, fill);
  });
}

void Planes::unload(const float* ready, float* map) const {
  const std::int64_t stride = s_.stride[2];
  std::fill(map, map + product_of(s_.in), 0.0f);
  each_phase([&](std::int64_t place, std::int64_t to, std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) map[to + stride * i] = ready[place + i];
  });
}

Tensor windows_of(const Ops& ops, const Tensor& x, const Sliding& s, float fill) {
  std::vector<int> axes;
  std::vector<std::int64_t> shape{x.extent(0), x.extent(1)}, before, after;
  for (int i = 0; i < s.axes; ++i) {
    const auto a = std::size_t(3 - s.axes + i);
    const std::int64_t reached = s.out[a] == 0 ? 0 : (s.out[a] - 1) * s.stride[a] + s.reach(int(a));
    axes.push_back(2 + i), before.push_back(s.before[a]);
    after.push_back(std::max<std::int64_t>(reached - s.in[a] - s.before[a], 0));
    shape.push_back(s.kernel[a]);
  }
  const bool edges = std::any_of(before.begin(), before.end(), [](auto n) { return n > 0; }) ||
                     std::any_of(after.begin(), after.end(), [](auto n) { return n > 0; });
  const Tensor wide = edges ? ops.pad(x, axes, before, after, fill) : x;
  std::vector<std::int64_t> strides(2 + 2 * std::size_t(s.axes));
  std::int64_t step = 1;
  for (int i = s.axes - 1; i >= 0; --i) {
    const auto a = std::size_t(3 - s.axes + i), at = std::size_t(i);
    strides[2 + at] = step * s.dilation[a];
    strides[2 + at + std::size_t(s.axes)] = step * s.stride[a];
    step *= wide.extent(2 + i);
  }
  for (int i = 0; i < s.axes; ++i) shape.push_back(s.out[std::size_t(3 - s.axes + i)]);
  strides[1] = step, strides[0] = step * x.extent(1);
  return ops.strided(wide, Shape(shape), strides);
}

}  // namespace heed::ops
