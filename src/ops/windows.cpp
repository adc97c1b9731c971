// SPDX-License-Identifier: Apache-2.0
// Elements of maps moved about: edges, windows, pixels.
#include <algorithm>
#include <limits>
#include <memory>

#include "heed/ops.h"
#include "kernel/maps.h"
#include "ops/lanes.h"
#include "ops/picked.h"
#include "ops/sliding.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// What pad() and extend() add to an axis.
struct Edge {
  int axis;
  std::int64_t before, after;
};

/// By axis, which ascend.
std::vector<Edge> edges_of(const Tensor& x, const std::vector<int>& axes, const std::vector<std::int64_t>& before,
                           const std::vector<std::int64_t>& after) {
  std::vector<Edge> edges;
  for (const auto* list : {&before, &after})
    if (list->size() != 1 && list->size() != axes.size())
      fail(list == &before ? "before" : "after", "a number for each of " + std::to_string(axes.size()) + " axes, or one",
           std::to_string(list->size()));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Edge edge{axis_of(axes[i], x.rank()), before[before.size() == 1 ? 0 : i], after[after.size() == 1 ? 0 : i]};
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max() / 4;
    if (edge.before < 0 || edge.after < 0 || edge.before > most || edge.after > most)
      fail("before, after", "0 or more", std::to_string(edge.before) + ", " + std::to_string(edge.after));
    edges.push_back(edge);
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.axis < b.axis; });
  for (std::size_t i = 1; i < edges.size(); ++i)
    if (edges[i].axis == edges[i - 1].axis) fail("axes", "each axis once", std::to_string(edges[i].axis) + " again");
  return edges;
}

std::vector<Run> runs_of(const Edge& edge, std::int64_t n, PadMode mode) {
  const std::int64_t begin = edge.before, end = edge.before + n;
  std::vector<Run> runs{{0, begin, -1, 1}, {begin, end, 0, 1}, {end, end + edge.after, -1, 1}};
  if (mode == PadMode::circular)
    runs[0].from = n - edge.before, runs[2].from = 0;
  else if (mode == PadMode::reflect)
    runs[0].from = edge.before, runs[2].from = n - 2, runs[0].step = runs[2].step = -1;
  else if (mode == PadMode::replicate)
    runs[0].from = 0, runs[2].from = n - 1, runs[0].step = runs[2].step = 0;
  std::erase_if(runs, [](const Run& run) { return run.begin == run.end; });
  return runs;
}

Tensor padded(const Ops& ops, const Tensor& x, const std::vector<Edge>& edges, PadMode mode, float value) {
  if (edges.empty()) return x;
  std::vector<AxisSource> sources;
  for (const Edge& edge : edges) sources.push_back(axis_source(edge.axis, runs_of(edge, x.extent(edge.axis), mode)));
  return picked(ops.context(), x, std::move(sources), value);
}

}  // namespace

Tensor Ops::pad(const Tensor& x, const std::vector<int>& axes, const std::vector<std::int64_t>& before,
                const std::vector<std::int64_t>& after, float value) const {
  need(x, DType::f32, "x");
  const auto edges = edges_of(x, axes, before, after);
  return record("pad", padded(*this, x, edges, PadMode::zeros, value), {&x}, [edges, s = x.shape()](const Pull& p) -> std::vector<Tensor> {
    Tensor g = p.gradient();
    for (const Edge& e : edges) g = g.slice(e.axis, e.before, s[e.axis]);
    return {g};
  });
}

Tensor Ops::extend(const Tensor& x, const std::vector<int>& axes, const std::vector<std::int64_t>& before,
                   const std::vector<std::int64_t>& after, PadMode mode) const {
  if (mode == PadMode::zeros) return pad(x, axes, before, after);
  need(x, DType::f32, "x");
  const auto edges = edges_of(x, axes, before, after);
  for (const Edge& e : edges) {
    const std::int64_t n = x.extent(e.axis), most = mode == PadMode::reflect    ? std::max<std::int64_t>(n - 1, 0)
                                                    : mode == PadMode::circular ? n
                                                    : n > 0                     ? std::max(e.before, e.after)
                                                                                : 0;
    if (e.before > most || e.after > most)
      fail("before, after", "0 to " + std::to_string(most), std::to_string(e.before) + ", " + std::to_string(e.after));
  }
  return record("extend", padded(*this, x, edges, mode, 0), {&x}, [edges, mode, s = x.shape()](const Pull& p) -> std::vector<Tensor> {
    Tensor g = p.gradient();
    for (const Edge& e : edges) {
      const auto places = places_of(runs_of(e, s[e.axis], mode));
      const Tensor index(DType::i64, {std::int64_t(places.size())});
      std::copy(places.begin(), places.end(), index.raw<std::int64_t>());
      g = p.ops.index_add(g, e.axis, index, s[e.axis]);
    }
    return {g};
  });
}

namespace {

Sliding sliding(int axes, const Triple& in, const PoolOptions& o) {
  Sliding s{axes,
            in,
            triple(o.kernel, axes, 1, 1, "kernel"),
            o.stride.empty() ? Triple{1, 1, 1} : triple(o.stride, axes, 1, 1, "stride"),
            triple(o.padding, axes, 0, 0, "padding"),
            triple(o.dilation, axes, 1, 1, "dilation"),
            {}};
  for (std::size_t a = 0; a < 3; ++a) {
    const std::int64_t room = in[a] + 2 * s.before[a] - s.reach(int(a));
    if (room < 0) fail("kernel", "at most the padded map of " + std::to_string(in[a] + 2 * s.before[a]), std::to_string(s.reach(int(a))));
    s.out[a] = room / s.stride[a] + 1;
  }
  s.settle();
  return s;
}

}  // namespace

namespace {

Tensor add_up(const Ops& ops, const Tensor& columns, const Sliding& s, std::int64_t channels);

/// Windows as columns, [B, channels * taps, places].
Tensor take_apart(const Ops& ops, const Tensor& x, const Sliding& s) {
  const std::int64_t maps = x.extent(0) * x.extent(1), wide = s.out[2];
  const Tensor from = x.with_origin(nullptr).dense();
  Tensor out(DType::f32, {x.extent(0), x.extent(1) * s.taps(), s.places()});
  const Planes planes(s);
  pieces(ops.context().threads, maps, 16384 / (s.taps() * s.places()), [&](std::int64_t begin, std::int64_t end) {
    const std::unique_ptr<float[]> ready(new float[std::size_t(planes.size())]);
    float* to = out.raw<float>() + begin * s.taps() * s.places();
    for (std::int64_t map = begin; map < end; ++map) {
      planes.load(kernel::maps_of(ops.context().isa), from.raw<float>() + map * product_of(s.in), ready.get());
      for (const std::int64_t tap : planes.taps())
        for (std::int64_t r = 0; r < s.rows(); ++r, to += wide)
          std::copy(ready.get() + planes.row(r) + tap, ready.get() + planes.row(r) + tap + wide, to);
    }
  });
  return ops.record("unfold", out, {&x}, [s, channels = x.extent(1)](const Pull& p) -> std::vector<Tensor> {
    return {add_up(p.ops, p.gradient(), s, channels)};
  });
}

Tensor add_up(const Ops& ops, const Tensor& columns, const Sliding& s, std::int64_t channels) {
  const std::int64_t maps = columns.extent(0) * channels, wide = s.out[2];
  const Tensor from = columns.with_origin(nullptr).dense();
  Tensor out(DType::f32, map_shape(columns.extent(0), channels, s.axes, s.in));
  const Planes planes(s);
  const auto& loops = kernel::maps_of(ops.context().isa);
  pieces(ops.context().threads, maps, 16384 / (s.taps() * s.places()), [&](std::int64_t begin, std::int64_t end) {
    const std::unique_ptr<float[]> ready(new float[std::size_t(planes.size())]);
    const float* at = from.raw<float>() + begin * s.taps() * s.places();
    for (std::int64_t map = begin; map < end; ++map) {
      std::fill(ready.get(), ready.get() + planes.size(), 0.0f);
      for (const std::int64_t tap : planes.taps())
        for (std::int64_t r = 0; r < s.rows(); ++r, at += wide) loops.add(at, 1, ready.get() + planes.row(r) + tap, wide);
      planes.unload(ready.get(), out.raw<float>() + map * product_of(s.in));
    }
  });
  return ops.record("fold", out, {&columns}, [s](const Pull& p) -> std::vector<Tensor> { return {take_apart(p.ops, p.gradient(), s)}; });
}

}  // namespace

Tensor Ops::unfold(const Tensor& x, const PoolOptions& options) const {
  need(x, DType::f32, "x");
  return take_apart(*this, x, sliding(spatial_axes(x), spatial_of(x.shape()), options));
}

Tensor Ops::fold(const Tensor& x, const std::vector<std::int64_t>& size, const PoolOptions& options) const {
  need(x, DType::f32, "x");
  const int axes = int(size.size());
  if (axes < 1 || axes > 3) fail("size", "1 to 3 extents", std::to_string(axes));
  const Sliding s = sliding(axes, triple(size, axes, 1, 1, "size"), options);
  if (x.rank() != 3 || x.extent(1) % s.taps() || x.extent(2) != s.places())
    fail("x", "[B, C * " + std::to_string(s.taps()) + ", " + std::to_string(s.places()) + "]", x.shape().text());
  return add_up(*this, x, s, x.extent(1) / s.taps());
}

namespace {

/// Pixels out of channels (last of the channel axis), or back into them.
Tensor shuffle(int threads, const Tensor& x, std::int64_t factor, bool back) {
  const int axes = spatial_axes(x);
  if (factor < 1 || factor > 1 << 20) fail("factor", "1 to 2^20", std::to_string(factor));
  std::int64_t all = 1;
  for (int i = 0; i < axes; ++i) all *= factor;
  std::vector<std::int64_t> parts{x.extent(0)}, shape{x.extent(0)};
  std::vector<int> order{0, 1};
  if (!back) {
    if (x.extent(1) % all) fail("x", "channels in multiples of " + std::to_string(all), x.shape().text());
    parts.push_back(x.extent(1) / all), shape.push_back(x.extent(1) / all);
    for (int i = 0; i < axes; ++i) parts.push_back(factor);
    for (int i = 0; i < axes; ++i) {
      parts.push_back(x.extent(2 + i)), shape.push_back(x.extent(2 + i) * factor);
      order.push_back(2 + axes + i), order.push_back(2 + i);
    }
  } else {
    parts.push_back(x.extent(1)), shape.push_back(x.extent(1) * all);
    for (int i = 0; i < axes; ++i) {
      if (x.extent(2 + i) % factor) fail("x", "spatial axes in multiples of " + std::to_string(factor), x.shape().text());
      parts.push_back(x.extent(2 + i) / factor), parts.push_back(factor), shape.push_back(x.extent(2 + i) / factor);
    }
    for (int i = 0; i < axes; ++i) order.push_back(3 + 2 * i);
    for (int i = 0; i < axes; ++i) order.push_back(2 + 2 * i);
  }
  return x.reshape(Shape(parts)).permute(order).reshape(Shape(shape), threads);
}

/// Extents of [B, windows, size, ..., C] for x[B, *spatial, C].
struct Windowed {
  std::vector<std::int64_t> parts;
  std::vector<int> order, back;
  std::int64_t count = 1, elements = 1;

  Windowed(std::int64_t batch, const std::vector<std::int64_t>& spatial, std::int64_t channels, const std::vector<std::int64_t>& size)
      : parts{batch} {
    const int axes = int(spatial.size());
    if (axes < 1 || axes > 3) fail("x", "[B, *spatial, C] with 1 to 3 spatial axes", std::to_string(axes) + " axes");
    const Triple by = triple(size, axes, 1, 1, "size");
    order.push_back(0);
    for (int i = 0; i < axes; ++i) {
      const std::int64_t n = spatial[std::size_t(i)], each = by[std::size_t(3 - axes + i)];
      if (n % each) fail("x", "spatial axes in multiples of the window's " + std::to_string(each), std::to_string(n));
      parts.push_back(n / each), parts.push_back(each);
      order.push_back(1 + 2 * i);
      count *= n / each, elements *= each;
    }
    for (int i = 0; i < axes; ++i) order.push_back(2 + 2 * i);
    parts.push_back(channels), order.push_back(1 + 2 * axes);
    back.resize(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) back[std::size_t(order[i])] = int(i);
  }
};

}  // namespace

Tensor Ops::pixel_shuffle(const Tensor& x, std::int64_t factor) const { return shuffle(context_.threads, x, factor, false); }
Tensor Ops::pixel_unshuffle(const Tensor& x, std::int64_t factor) const { return shuffle(context_.threads, x, factor, true); }

Tensor Ops::windows(const Tensor& x, const std::vector<std::int64_t>& size) const {
  if (x.rank() < 3) fail("x", "[B, *spatial, C]", x.shape().text());
  auto spatial = x.shape().vector();
  const Windowed w(x.extent(0), {spatial.begin() + 1, spatial.end() - 1}, x.extent(-1), size);
  return x.reshape(Shape(w.parts)).permute(w.order).reshape({x.extent(0) * w.count, w.elements, x.extent(-1)}, context_.threads);
}

Tensor Ops::unwindows(const Tensor& x, const std::vector<std::int64_t>& size, const std::vector<std::int64_t>& spatial) const {
  if (x.rank() != 3) fail("x", "[B * windows, elements, C]", x.shape().text());
  const Windowed one(1, spatial, x.extent(2), size);
  if (one.count == 0 || x.extent(0) % one.count || x.extent(1) != one.elements)
    fail("x", "[B * " + std::to_string(one.count) + ", " + std::to_string(one.elements) + ", C]", x.shape().text());
  const Windowed w(x.extent(0) / one.count, spatial, x.extent(2), size);
  std::vector<std::int64_t> parted, shape{w.parts[0]};
  for (const int axis : w.order) parted.push_back(w.parts[std::size_t(axis)]);
  shape.insert(shape.end(), spatial.begin(), spatial.end());
  shape.push_back(x.extent(2));
  return x.reshape(Shape(parted)).permute(w.back).reshape(Shape(shape), context_.threads);
}

}  // namespace v0
}  // namespace heed
