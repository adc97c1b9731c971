// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>
#include <memory>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "kernel/maps.h"
#include "ops/lanes.h"
#include "ops/separable.h"
#include "ops/sliding.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

Sliding pooled(const Tensor& x, const PoolOptions& o) {
  need(x, DType::f32, "x");
  const int axes = spatial_axes(x);
  const Triple kernel = triple(o.kernel, axes, 1, 1, "kernel");
  Sliding s{axes,
            spatial_of(x.shape()),
            kernel,
            o.stride.empty() ? kernel : triple(o.stride, axes, 1, 1, "stride"),
            triple(o.padding, axes, 0, 0, "padding"),
            triple(o.dilation, axes, 1, 1, "dilation"),
            {}};
  for (std::size_t a = 0; a < 3; ++a) {
    if (2 * s.before[a] > kernel[a]) fail("padding", "at most half of the kernel", std::to_string(s.before[a]));
    const std::int64_t room = s.in[a] + 2 * s.before[a] - s.reach(int(a));
    if (room < 0 || s.in[a] == 0) fail("x", "a map of " + std::to_string(s.reach(int(a)) - 2 * s.before[a]) + " or more", x.shape().text());
    s.out[a] = (o.ceil ? room + s.stride[a] - 1 : room) / s.stride[a] + 1;
    if (o.ceil && (s.out[a] - 1) * s.stride[a] >= s.in[a] + s.before[a]) --s.out[a];  // a window begins inside
  }
  s.settle();
  return s;
}

/// The windows of each axis as a map; weights divide by the window's size, with padding counted or not.
std::vector<AxisMap> window_maps(const Sliding& s, bool count_padding) {
  std::vector<AxisMap> maps;
  for (auto a = std::size_t(3 - s.axes); a < 3; ++a) {
    AxisMap map;
    map.in = s.in[a];
    for (std::int64_t o = 0; o < s.out[a]; ++o) {
      const std::int64_t first = o * s.stride[a] - s.before[a];
      std::int64_t inside = 0, counted = 0;
      for (std::int64_t k = 0; k < s.kernel[a]; ++k) {
        const std::int64_t at = first + k * s.dilation[a];
        inside += at >= 0 && at < s.in[a], counted += at < s.in[a] + s.before[a];
      }
      if (inside == 0) fail("padding", "windows that hold something of x", "one that does not");
      for (std::int64_t k = 0; k < s.kernel[a]; ++k) {
        const std::int64_t at = first + k * s.dilation[a];
        if (at >= 0 && at < s.in[a]) map.add(at, 1.0 / double(count_padding ? counted : inside));
      }
      map.close();
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

/// One over the elements that each window, dilation 1, counts: [*out].
std::vector<float> shares(const Sliding& s, bool count_padding) {
  const auto counted = [&](std::size_t a, std::int64_t o) {
    const std::int64_t first = o * s.stride[a] - s.before[a], last = first + s.kernel[a];
    return count_padding ? std::min(last, s.in[a] + s.before[a]) - first : std::min(last, s.in[a]) - std::max<std::int64_t>(first, 0);
  };
  std::vector<float> share;
  for (std::int64_t d = 0; d < s.out[0]; ++d)
    for (std::int64_t h = 0; h < s.out[1]; ++h)
      for (std::int64_t w = 0; w < s.out[2]; ++w) share.push_back(float(1 / double(counted(0, d) * counted(1, h) * counted(2, w))));
  return share;
}

/// The average of windows that are small or lie close, by their taps.
Tensor averaged(const Context& context, const Tensor& x, const Sliding& s, bool count_padding) {
  const Tensor from = x.with_origin(nullptr).dense(context.threads), out(DType::f32, map_shape(x.extent(0), x.extent(1), s.axes, s.out));
  const auto& loops = kernel::maps_of(context.isa);
  const auto times = kernel::elements_of(context.isa).mul;
  const Planes planes(s);
  bool even = true;  // every window counts all of its places
  for (std::size_t a = 0; a < 3; ++a) {
    const std::int64_t beyond = (s.out[a] - 1) * s.stride[a] + s.kernel[a] - s.in[a] - s.before[a];
    even = even && (count_padding ? beyond <= s.before[a] : beyond <= 0 && s.before[a] == 0);
  }
  const std::vector<float> weight(std::size_t(s.taps()), even ? float(1 / double(s.taps())) : 1),
      share = even ? std::vector<float>() : shares(s, count_padding);
  pieces(context.threads, x.extent(0) * x.extent(1), 16384 / planes.size(), [&](std::int64_t begin, std::int64_t end) {
    const std::unique_ptr<float[]> room(planes.plain() ? nullptr : new float[std::size_t(planes.size())]);
    for (std::int64_t map = begin; map < end; ++map) {
      const float* ready = from.raw<float>() + map * product_of(s.in);
      if (room) planes.load(loops, ready, room.get()), ready = room.get();
      float* to = out.raw<float>() + map * s.places();
      for (std::int64_t r = 0; r < s.rows(); r += s.out[1])
        loops.taps(ready + planes.row(r), s.stride[1] * planes.pitch(), s.out[1], planes.taps().data(), weight.data(), s.taps(), 0,
                   to + r * s.out[2], s.out[2], s.out[2]);
      if (!even) times(to, 1, share.data(), 1, s.places(), to);
    }
  });
  return out;
}

std::vector<AxisMap> adaptive_maps(const Tensor& x, const std::vector<std::int64_t>& size) {
  need(x, DType::f32, "x");
  const int axes = spatial_axes(x);
  const Triple out = triple(size, axes, 1, 1, "size"), in = spatial_of(x.shape());
  std::vector<AxisMap> maps;
  for (auto a = std::size_t(3 - axes); a < 3; ++a) {
    if (in[a] == 0) fail("x", "a map that is not empty", x.shape().text());
    AxisMap map;
    map.in = in[a];
    for (std::int64_t o = 0; o < out[a]; ++o) {
      const std::int64_t first = o * in[a] / out[a], last = ((o + 1) * in[a] + out[a] - 1) / out[a];
      for (std::int64_t i = first; i < last; ++i) map.add(i, 1.0 / double(last - first));
      map.close();
    }
    maps.push_back(std::move(map));
  }
  return maps;
}

/// Where the largest of each window stands in its map, [B, C, windows]: the first of equals.
Tensor places(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps) {
  std::array<const AxisMap*, 3> axis;
  AxisMap one;
  one.in = 1, one.add(0, 1), one.close();
  for (std::size_t a = 0; a < 3; ++a) axis[a] = a + maps.size() < 3 ? &one : &maps[a + maps.size() - 3];
  const Tensor from = x.with_origin(nullptr).dense(ops.context().threads);
  const std::int64_t size = axis[0]->in * axis[1]->in * axis[2]->in, count = axis[0]->out() * axis[1]->out() * axis[2]->out();
  const Tensor index(DType::i64, {x.extent(0), x.extent(1), count});
  pieces(ops.context().threads, x.extent(0) * x.extent(1), 4096 / count, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const float* map = from.raw<float>() + plane * size;
      auto* to = index.raw<std::int64_t>() + plane * count;
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t o[3] = {i / axis[2]->out() / axis[1]->out(), i / axis[2]->out() % axis[1]->out(), i % axis[2]->out()};
        const auto entries = [&](int a) {
          return std::pair(axis[std::size_t(a)]->begin[std::size_t(o[a])], axis[std::size_t(a)]->begin[std::size_t(o[a]) + 1]);
        };
        std::int64_t best = -1;
        for (auto [d, d_end] = entries(0); d < d_end; ++d)
          for (auto [h, h_end] = entries(1); h < h_end; ++h)
            for (auto [w, w_end] = entries(2); w < w_end; ++w) {
              const std::int64_t at = (axis[0]->index[std::size_t(d)] * axis[1]->in + axis[1]->index[std::size_t(h)]) * axis[2]->in +
                                      axis[2]->index[std::size_t(w)];
              if (best < 0 || map[at] > map[best] || (map[at] != map[at] && map[best] == map[best])) best = at;
            }
        to[i] = best;
      }
    }
  });
  return index;
}

/// `maps` gives the windows.
template <class Maps>
Tensor largest(const Ops& ops, const Tensor& x, Tensor out, Maps&& maps) {
  if (!ops.wanted({&x})) return out;
  return ops.record("max_pool", out, {&x}, [s = x.shape(), index = places(ops, x, maps())](const Pull& p) -> std::vector<Tensor> {
    const Tensor g = p.gradient().reshape(index.shape());
    return {p.ops.scatter_add(g, 2, index, s.count() / std::max<std::int64_t>(1, s[0] * s[1])).reshape(s)};
  });
}

}  // namespace

Tensor Ops::max_pool(const Tensor& x, const PoolOptions& options) const {
  const Sliding s = pooled(x, options);
  const auto maps = [&] { return window_maps(s, true); };
  if (s.dilation != Triple{1, 1, 1}) maps();  // every window holds something
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, map_shape(x.extent(0), x.extent(1), s.axes, s.out));
  const auto& loops = kernel::maps_of(context_.isa);
  const Planes planes(s);
  pieces(context_.threads, x.extent(0) * x.extent(1), 16384 / planes.size(), [&](std::int64_t begin, std::int64_t end) {
    const std::unique_ptr<float[]> ready(new float[std::size_t(planes.size())]);
    for (std::int64_t map = begin; map < end; ++map) {
      planes.load(loops, from.raw<float>() + map * product_of(s.in), ready.get(), -std::numeric_limits<float>::infinity());
      for (std::int64_t r = 0; r < s.rows(); ++r)
        loops.largest(ready.get() + planes.row(r), planes.taps().data(), s.taps(), out.raw<float>() + (map * s.rows() + r) * s.out[2],
                      s.out[2]);
    }
  });
  return largest(*this, x, out, maps);
}
Tensor Ops::adaptive_max_pool(const Tensor& x, const std::vector<std::int64_t>& size) const {
  const auto maps = adaptive_maps(x, size);
  return largest(*this, x, separable_max(*this, x, maps), [&] { return maps; });
}

Tensor Ops::average_pool(const Tensor& x, const PoolOptions& options) const {
  const Sliding s = pooled(x, options);
  if (s.dilation != Triple{1, 1, 1}) fail("dilation", "1 for an average", "more");
  if (s.taps() > 32 || s.stride[2] > 2) return separable(*this, x, window_maps(s, options.count_padding));
  return record("average_pool", averaged(context_, x, s, options.count_padding), {&x},
                [s, padded = options.count_padding](const Pull& p) -> std::vector<Tensor> {
                  std::vector<AxisMap> back;
                  for (const AxisMap& map : window_maps(s, padded)) back.push_back(map.transposed());
                  return {separable(p.ops, p.gradient(), back)};
                });
}
Tensor Ops::adaptive_average_pool(const Tensor& x, const std::vector<std::int64_t>& size) const {
  need(x, DType::f32, "x");
  const Triple out = triple(size, spatial_axes(x), 1, 1, "size");
  if (product_of(out) != 1 || product_of(spatial_of(x.shape())) == 0) return separable(*this, x, adaptive_maps(x, size));
  std::vector<int> axes;
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  return mean(x, axes, true);
}

Tensor Ops::lse_pool(const Tensor& x, const PoolOptions& options) const {
  const Sliding s = pooled(x, options);
  const Tensor windows = windows_of(*this, x, s, -std::numeric_limits<float>::infinity());
  return logsumexp(windows.reshape({x.extent(0), x.extent(1), s.taps(), s.places()}), 2)
      .reshape(map_shape(x.extent(0), x.extent(1), s.axes, s.out));
}

}  // namespace v0
}  // namespace heed
