// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <memory>

#include "heed/ops.h"
#include "kernel/maps.h"
#include "ops/lanes.h"
#include "ops/picked.h"
#include "ops/separable.h"
#include "ops/sliding.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr double keys = -0.75;  ///< of the cubic kernel

/// The cubic kernel at distance t: within 1, and from 1 to 2.
double near_cubic(double t) { return ((keys + 2) * t - (keys + 3)) * t * t + 1; }
double far_cubic(double t) { return ((keys * t - 5 * keys) * t + 8 * keys) * t - 4 * keys; }

AxisMap axis_map(std::int64_t in, std::int64_t out, Resample mode, bool align_corners) {
  AxisMap map;
  map.in = in;
  const auto inside = [in](std::int64_t i) { return std::min(std::max<std::int64_t>(i, 0), in - 1); };
  const double ratio = double(in) / double(out);
  for (std::int64_t o = 0; o < out; ++o) {
    if (mode == Resample::nearest || mode == Resample::nearest_exact) {
      map.add(inside(std::int64_t(std::floor((double(o) + (mode == Resample::nearest ? 0 : 0.5)) * ratio))), 1);
    } else {
      double at = align_corners ? (out > 1 ? double(o) * double(in - 1) / double(out - 1) : 0) : (double(o) + 0.5) * ratio - 0.5;
      if (mode == Resample::linear) at = std::max(at, 0.0);
      const auto first = std::int64_t(std::floor(at));
      const double t = at - double(first);
      if (mode == Resample::linear) {
        map.add(inside(first), 1 - t), map.add(inside(first + 1), t);
      } else {
        map.add(inside(first - 1), far_cubic(1 + t)), map.add(inside(first), near_cubic(t));
        map.add(inside(first + 1), near_cubic(1 - t)), map.add(inside(first + 2), far_cubic(2 - t));
      }
    }
    map.close();
  }
  return map;
}

}  // namespace

Tensor Ops::resize(const Tensor& x, const std::vector<std::int64_t>& size, Resample mode, bool align_corners) const {
  need(x, DType::f32, "x");
  const int axes = spatial_axes(x);
  const Triple out = triple(size, axes, 1, 1, "size"), in = spatial_of(x.shape());
  if (mode == Resample::cubic && axes != 2) fail("mode", "nearest or linear but for two spatial axes", "cubic");
  if (align_corners && (mode == Resample::nearest || mode == Resample::nearest_exact)) fail("align_corners", "false for nearest", "true");
  std::vector<AxisMap> maps;
  for (auto a = std::size_t(3 - axes); a < 3; ++a) {
    if (in[a] == 0) fail("x", "a map that is not empty", x.shape().text());
    maps.push_back(axis_map(in[a], out[a], mode, align_corners));
  }
  if (mode != Resample::nearest && mode != Resample::nearest_exact) return separable(*this, x, maps);
  std::vector<std::vector<std::int64_t>> places;
  std::vector<AxisSource> sources;
  for (const AxisMap& map : maps) {
    places.emplace_back(map.index.begin(), map.index.end());
    sources.push_back(axis_source(x.rank() - axes + int(sources.size()), places.back().data(), map.out()));
  }
  return record("nearest", picked(context_, x, std::move(sources)), {&x}, [maps](const Pull& p) -> std::vector<Tensor> {
    std::vector<AxisMap> back;
    for (const AxisMap& map : maps) back.push_back(map.transposed());
    return {separable(p.ops, p.gradient(), back)};
  });
}

namespace {

struct Grid {
  int axes;
  std::int64_t batch, channels, size, places;
  Triple in;  ///< the last axis last
  Shape out;

  Grid(const Tensor& x, const Tensor& grid, Resample mode, PadMode edges) {
    need(x, DType::f32, "x");
    need(grid, DType::f32, "grid");
    axes = spatial_axes(x);
    if (axes == 1) fail("x", "two or three spatial axes", x.shape().text());
    if (grid.rank() != axes + 2 || grid.extent(0) != x.extent(0) || grid.extent(-1) != axes)
      fail("grid", "[" + std::to_string(x.extent(0)) + ", *out, " + std::to_string(axes) + "]", grid.shape().text());
    if (mode == Resample::nearest_exact || (mode == Resample::cubic && axes != 2))
      fail("mode", "nearest, linear or, for two axes, cubic", "another");
    if (edges == PadMode::circular) fail("edges", "zeros, replicate or reflect", "circular");
    in = spatial_of(x.shape());
    batch = x.extent(0), channels = x.extent(1), size = product_of(in), places = 1;
    if (size == 0) fail("x", "a map that is not empty", x.shape().text());
    std::vector<std::int64_t> shape{batch, channels};
    for (int i = 0; i < axes; ++i) places *= grid.extent(1 + i), shape.push_back(grid.extent(1 + i));
    out = Shape(shape);
  }
};

double wrapped(double at, std::int64_t n, PadMode edges, bool corners) {
  if (edges == PadMode::reflect) {
    const double low = corners ? 0 : -0.5, span = corners ? double(n - 1) : double(n);
    if (span == 0) return 0;
    const double off = std::fmod(std::abs(at - low), 2 * span);
    at = (off > span ? 2 * span - off : off) + low;
  }
  return edges == PadMode::zeros ? at : std::min(std::max(at, 0.0), double(n - 1));
}

/// The elements that one coordinate reads along an axis and their weights; an element outside has weight 0.
struct Reads {
  std::int64_t index[4];
  double weight[4];
};

void read(double coordinate, std::int64_t n, Resample mode, PadMode edges, bool corners, Reads& r) {
  double at = 0.5 * (corners ? (coordinate + 1) * double(n - 1) : (coordinate + 1) * double(n) - 1);
  if (mode != Resample::cubic) at = wrapped(at, n, edges, corners);
  if (!(std::abs(at) < 1e9)) at = -100;           // NaN and the far away read nothing
  constexpr double shifter = 6755399441055744.0;  // 1.5 2^52: adding it rounds to whole numbers, halves to even
  double floor = (at + shifter) - shifter;
  if (mode != Resample::nearest && floor > at) floor -= 1;
  const double t = at - floor;
  const auto set = [&](int i, double place, double weight) {
    const bool inside = place >= 0 && place <= double(n - 1);
    r.index[i] = inside ? std::int64_t(place) : 0;
    r.weight[i] = inside ? weight : 0;
  };
  if (mode == Resample::nearest) {
    set(0, floor, 1);
  } else if (mode == Resample::linear) {
    set(0, floor, 1 - t), set(1, floor + 1, t);
  } else {
    const double cubic[4] = {far_cubic(1 + t), near_cubic(t), near_cubic(1 - t), far_cubic(2 - t)};
    for (int i = 0; i < 4; ++i) set(i, wrapped(floor + i - 1, n, edges, corners), cubic[i]);
  }
}

}  // namespace

Tensor Ops::grid_sample(const Tensor& x, const Tensor& grid, Resample mode, PadMode edges, bool align_corners) const {
  const Grid g(x, grid, mode, edges);
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), at = grid.with_origin(nullptr).dense(context_.threads),
               out(DType::f32, g.out);
  const auto& loops = kernel::maps_of(context_.isa);
  const std::int64_t each = mode == Resample::nearest  ? 1
                            : mode == Resample::linear ? 2
                                                       : 4,
                     entries = g.axes == 2 ? each * each : each * each * each;
  // A task reads some places of all channels: their elements and weights are found once.
  const std::int64_t some = each == 4 ? 256 : 1024, blocks = (g.places + some - 1) / some;
  base::parallel(context_.threads, g.batch * blocks, [&](std::int64_t task, int) {
    const std::int64_t b = task / blocks, first = task % blocks * some, n = std::min(some, g.places - first);
    std::array<std::int32_t, 512> few_places;  // of a small map, without an allocation
    std::array<float, 512> few_shares;
    const bool few = entries * n <= 512;
    const std::unique_ptr<std::int32_t[]> more_places(few ? nullptr : new std::int32_t[std::size_t(entries * n)]);
    const std::unique_ptr<float[]> more_shares(few ? nullptr : new float[std::size_t(entries * n)]);
    std::int32_t* const index = few ? few_places.data() : more_places.get();
    float* const weight = few ? few_shares.data() : more_shares.get();
    const bool together = g.axes == 2 && g.size < 1 << 24;
    if (together)
      loops.points(at.raw<float>() + (b * g.places + first) * 2, n, g.in[1], g.in[2], int(each),
                   edges == PadMode::zeros       ? 0
                   : edges == PadMode::replicate ? 1
                                                 : 2,
                   align_corners, index, weight);
    Reads axis[3];
    axis[0].index[0] = 0, axis[0].weight[0] = 1;
    for (std::int64_t i = 0; i < n && !together; ++i) {
      const float* point = at.raw<float>() + (b * g.places + first + i) * g.axes;
      for (int a = 0; a < g.axes; ++a) read(point[a], g.in[std::size_t(2 - a)], mode, edges, align_corners, axis[2 - a]);
      std::int64_t to = i;
      for (std::int64_t d = 0; d < (g.axes == 3 ? each : 1); ++d)
        for (std::int64_t h = 0; h < each; ++h) {
          const std::int64_t line = (axis[0].index[d] * g.in[1] + axis[1].index[h]) * g.in[2];
          const double share = axis[0].weight[d] * axis[1].weight[h];
          for (std::int64_t w = 0; w < each; ++w, to += n) {
            index[to] = std::int32_t(line + axis[2].index[w]);
            weight[to] = float(share * axis[2].weight[w]);
          }
        }
    }
    for (std::int64_t c = 0; c < g.channels; ++c)
      loops.pick(from.raw<float>() + (b * g.channels + c) * g.size, index, weight, entries,
                 out.raw<float>() + (b * g.channels + c) * g.places + first, n);
  });
  if (!wanted({&x, &grid})) return out;
  return record("grid_sample", out, {&x, &grid}, [x, grid, mode, edges, align_corners](const Pull& p) -> std::vector<Tensor> {
    const Ops again(p.ops.context(), true);
    // Partial derivatives: the map and the points apart, as the points may be made from the map.
    const auto apart = [&](const Tensor& t) {
      return p.ops.recording() && t.origin() ? again.straight_through(t, t) : leaf(t.with_origin(nullptr));
    };
    const Tensor from = apart(x), where = apart(grid);
    return gradients(p.ops, {again.grid_sample_plain(from, where, mode, edges, align_corners)}, {p.gradient()}, {from, where});
  });
}

Tensor Ops::grid_sample_plain(const Tensor& x, const Tensor& grid, Resample mode, PadMode edges, bool align_corners) const {
  const Grid g(x, grid, mode, edges);
  const Tensor maps = x.reshape({g.batch, g.channels, g.size}), none = full({}, 0);
  const Tensor points = grid.reshape({g.batch, 1, g.places, g.axes});
  const auto wrap = [&](const Tensor& at, std::int64_t n) {
    Tensor place = at;
    if (edges == PadMode::reflect) {
      const float low = align_corners ? 0 : -0.5f, span = float(align_corners ? n - 1 : n);
      if (span == 0) return scale(at, 0);
      // The number of spans passed is a choice; odd ones run backwards.
      const Tensor off = abs(shift(at, -low)), fixed = no_gradient(off, "the span that a coordinate lies in");
      const Tensor turns(DType::f32, off.shape()), signs(DType::f32, off.shape());
      const Tensor dense = fixed.dense(context_.threads);
      for (std::int64_t i = 0; i < off.count(); ++i) {
        const double passed = std::floor(double(dense.raw<float>()[i]) / span), odd = std::fmod(passed, 2);
        signs.raw<float>()[i] = odd != 0 ? -1 : 1;
        turns.raw<float>()[i] = float(odd != 0 ? (passed + 1) * span : -passed * span);
      }
      place = shift(add(mul(off, signs), turns), low);
    }
    return edges == PadMode::zeros ? place : clamp(place, 0, float(n - 1));
  };
  struct Axis {
    std::vector<Tensor> index, weight;
  };
  std::vector<Axis> axes(std::size_t(g.axes));  // the last spatial axis first
  for (int a = 0; a < g.axes; ++a) {
    const std::int64_t n = g.in[std::size_t(2 - a)];
    const Tensor coordinate = points.slice(3, a, 1).reshape({g.batch, 1, g.places});
    Tensor at = align_corners ? scale(shift(coordinate, 1), float(double(n - 1) / 2))
                              : scale(shift(scale(shift(coordinate, 1), float(n)), -1), 0.5f);
    if (mode != Resample::cubic) at = wrap(at, n);
    const Tensor fixed = no_gradient(at, "the elements that a coordinate reads").dense(context_.threads);
    const Tensor floor(DType::f32, fixed.shape());
    for (std::int64_t i = 0; i < floor.count(); ++i) {
      const double v = fixed.raw<float>()[i];
      floor.raw<float>()[i] = float(!(std::abs(v) < 1e9) ? -100 : mode == Resample::nearest ? std::nearbyint(v) : std::floor(v));
    }
    const Tensor t = sub(at, floor), rest = shift(neg(t), 1);
    const auto close = [&](const Tensor& d) { return shift(mul(shift(scale(d, float(keys + 2)), float(-(keys + 3))), square(d)), 1); };
    const auto far = [&](const Tensor& d) {
      return shift(mul(shift(mul(shift(scale(d, float(keys)), float(-5 * keys)), d), float(8 * keys)), d), float(-4 * keys));
    };
    const int count = mode == Resample::nearest ? 1 : mode == Resample::linear ? 2 : 4;
    for (int i = 0; i < count; ++i) {
      const Tensor weight = count == 1   ? full(t.shape(), 1)
                            : count == 2 ? (i ? t : rest)
                            : i == 0     ? far(shift(t, 1))
                            : i == 1     ? close(t)
                            : i == 2     ? close(rest)
                                         : far(shift(rest, 1));
      const Tensor index(DType::i64, fixed.shape()), here(DType::boolean, fixed.shape());
      for (std::int64_t e = 0; e < index.count(); ++e) {
        double place = floor.raw<float>()[e] + i - (count == 4);
        if (count == 4) place = wrapped(place, n, edges, align_corners);
        here.raw<std::uint8_t>()[e] = place >= 0 && place <= double(n - 1);
        index.raw<std::int64_t>()[e] = here.raw<std::uint8_t>()[e] ? std::int64_t(place) : 0;
      }
      axes[std::size_t(a)].index.push_back(index);
      axes[std::size_t(a)].weight.push_back(where(here, weight, none));
    }
  }
  const int each = int(axes[0].index.size());
  Tensor out;
  for (int e = 0; e < (g.axes == 2 ? each * each : each * each * each); ++e) {
    const auto w = std::size_t(e % each), h = std::size_t(e / each % each), d = std::size_t(e / each / each);
    const Tensor index(DType::i64, {g.batch, 1, g.places});
    for (std::int64_t i = 0; i < index.count(); ++i) {
      const std::int64_t slab = g.axes == 3 ? axes[2].index[d].raw<std::int64_t>()[i] : 0;
      index.raw<std::int64_t>()[i] =
          (slab * g.in[1] + axes[1].index[h].raw<std::int64_t>()[i]) * g.in[2] + axes[0].index[w].raw<std::int64_t>()[i];
    }
    Tensor weight = mul(axes[0].weight[w], axes[1].weight[h]);
    if (g.axes == 3) weight = mul(weight, axes[2].weight[d]);
    const Tensor part = mul(gather(maps, 2, index), weight);
    out = out.defined() ? add(out, part) : part;
  }
  return out.reshape(g.out);
}

}  // namespace v0
}  // namespace heed
