// SPDX-License-Identifier: Apache-2.0
// Convolution is linear in the map and in the weights, so three ops are each other's derivatives: forward(x, w), its adjoint
// in x (a transposed convolution) and its adjoint in w. Products of weights with columns of windows; groups of one or two
// outputs read the taps where they stand.
#include <memory>

#include "heed/ops.h"
#include "kernel/maps.h"
#include "kernel/product.h"
#include "ops/lanes.h"
#include "ops/pairs.h"
#include "ops/window_product.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr std::int64_t few = 2;  ///< outputs of a group below which a product would be mostly idle

/// What x[batch, inputs, *in] and weight[outputs, inputs/groups, *kernel] are to each other.
struct Conv {
  Sliding s;
  std::int64_t batch, inputs, outputs, groups;
  Planes planes;

  std::int64_t group_inputs() const { return inputs / groups; }
  std::int64_t group_outputs() const { return outputs / groups; }
  std::int64_t depth() const { return group_inputs() * s.taps(); }
  Shape in() const { return map_shape(batch, inputs, s.axes, s.in); }
  Shape out() const { return map_shape(batch, outputs, s.axes, s.out); }
  Shape weight() const { return map_shape(outputs, group_inputs(), s.axes, s.kernel); }
  bool empty() const { return product_of(s.out) * batch * outputs * inputs * s.taps() == 0; }

  /// Maps made ready, [batch, inputs, planes.size()].
  Tensor ready(const Context& context, const Tensor& x) const {
    const Tensor dense = x.with_origin(nullptr).dense(context.threads);
    if (planes.plain() || planes.size() == 0) return dense;
    const Tensor result(DType::f32, {batch * inputs, planes.size()});
    pieces(context.threads, batch * inputs, 16384 / planes.size(), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        planes.load(kernel::maps_of(context.isa), dense.raw<float>() + i * product_of(s.in), result.raw<float>() + i * planes.size());
    });
    return result;
  }
  /// Offsets of the taps of `channels` maps, from the first one.
  std::vector<std::int64_t> offsets(std::int64_t channels) const {
    std::vector<std::int64_t> all;
    for (std::int64_t c = 0; c < channels; ++c)
      for (const std::int64_t tap : planes.taps()) all.push_back(c * planes.size() + tap);
    return all;
  }
  /// Windows' places a block: columns of about half a megabyte, a multiple of 16.
  std::int64_t block(std::int64_t rows) const { return std::min<std::int64_t>(512, std::max<std::int64_t>(64, 131072 / rows / 16 * 16)); }
};

/// body(row, its first column, columns, place in the block) for the places [begin, end).
template <class F>
void segments(const Sliding& s, std::int64_t begin, std::int64_t end, F&& body) {
  for (std::int64_t at = begin; at < end;) {
    const std::int64_t column = at % s.out[2], count = std::min(end - at, s.out[2] - column);
    body(at / s.out[2], column, count, at - begin);
    at += count;
  }
}

/// One block of windows as columns: to[offsets][count].
void columns(const Conv& c, const float* ready, const std::vector<std::int64_t>& offsets, std::int64_t begin, std::int64_t count,
             float* to) {
  segments(c.s, begin, begin + count, [&](std::int64_t row, std::int64_t column, std::int64_t n, std::int64_t at) {
    const float* from = ready + c.planes.row(row) + column;
    for (std::size_t k = 0; k < offsets.size(); ++k) std::copy(from + offsets[k], from + offsets[k] + n, to + std::int64_t(k) * count + at);
  });
}

void multiply(const Ops& ops, product::Matrix a, product::Matrix b, float* out, std::int64_t out_row, std::int64_t m, std::int64_t n,
              std::int64_t k) {
  product::block(product::loops_of(ops.context().isa), {a, b, out, out_row}, 0, m, 0, n, k);
}

std::vector<int> all_but_channels(const Conv& c) {
  std::vector<int> all{0};
  for (int i = 0; i < c.s.axes; ++i) all.push_back(i + 2);
  return all;
}

Tensor back_to_input(const Ops& ops, const Conv& c, const Tensor& g, const Tensor& w, const Tensor& bias = {});
Tensor back_to_weight(const Ops& ops, const Conv& c, const Tensor& x, const Tensor& g);

/// A map is read row by row where it lies; rows beyond it are a row of zeros.
void depthwise(const Ops& ops, const Conv& c, const float* x, const float* weight, const float* start, float* out) {
  const auto& loops = kernel::maps_of(ops.context().isa);
  constexpr std::int64_t rows = kernel::Depthwise::rows;
  const std::int64_t high = c.s.kernel[1], wide = c.s.kernel[2], step = c.s.stride[1], O = c.group_outputs(), in_high = c.s.in[1],
                     in_wide = c.s.in[2], out_high = c.s.out[1], out_wide = c.s.out[2];
  std::vector<std::int64_t> taps;
  std::vector<std::uint16_t> lanes(std::size_t(wide * ((out_wide + 15) / 16)));
  for (std::int64_t w = 0; w < wide; ++w) {
    taps.push_back(w * c.s.dilation[2] - c.s.before[2]);
    for (std::int64_t i = 0; i < out_wide; ++i)
      if (step * i + taps.back() >= 0 && step * i + taps.back() < in_wide)
        lanes[std::size_t(w * ((out_wide + 15) / 16) + i / 16)] |= std::uint16_t(1 << i % 16);
  }
  const kernel::Depthwise kernel{int(high), int(wide), int(step), taps.data(), lanes.data(), (out_wide + 15) / 16};
  const std::vector<float> zeros(std::size_t(in_wide), 0.0f);
  const std::int64_t maps = c.batch * c.groups, units = out_high / rows,  // the last one up to the last row
      workers = base::thread_count(ops.context().threads), parts = maps >= 2 * workers ? 1 : std::min<std::int64_t>(units, 4 * workers);
  base::parallel(ops.context().threads, maps * parts, [&](std::int64_t task, int) {
    const std::int64_t part = task % parts, map = task / parts, first = units * part / parts * rows,
                       last = part + 1 == parts ? out_high : units * (part + 1) / parts * rows;
    float* turned = product::scratch(high * wide);
    for (std::int64_t o = map * O; o < (map + 1) * O; ++o) {
      for (std::int64_t h = 0; h < high; ++h)
        for (std::int64_t w = 0; w < wide; ++w) turned[w * high + h] = weight[(o % c.outputs * high + h) * wide + w];
      for (std::int64_t begin = first; begin < last; begin += rows) {
        const std::int64_t row = std::min(begin, last - rows);  // the last rows may be made twice
        const float* from[2 * (rows - 1) + 7];
        for (std::int64_t y = 0; y < step * (rows - 1) + high; ++y) {
          const std::int64_t at = step * row - c.s.before[1] + y;
          from[y] = at >= 0 && at < in_high ? x + (map * in_high + at) * in_wide : zeros.data();
        }
        loops.depthwise(kernel, from, turned, start[o % c.outputs], out + (o * out_high + row) * out_wide, out_wide, out_wide);
      }
    }
  });
}

Tensor forward(const Ops& ops, const Conv& c, const Tensor& x, const Tensor& w, const Tensor& bias = {}) {
  Tensor out(DType::f32, c.out());
  const Tensor weight = w.with_origin(nullptr).dense();
  const Tensor start = bias.defined() ? bias.with_origin(nullptr).dense() : Tensor::zeros(DType::f32, {c.outputs});
  const auto& loops = kernel::maps_of(ops.context().isa);
  const std::int64_t K = c.depth(), S = c.s.places(), O = c.group_outputs(), wide = c.s.out[2];
  const auto offsets = c.offsets(c.group_inputs());
  if (O <= few && (K == 0 || c.empty())) {
    for (std::int64_t i = 0; i < out.count(); ++i) out.raw<float>()[i] = start.raw<float>()[i / S % c.outputs];
  } else if (O <= few && c.group_inputs() == 1 && c.s.in[0] == 1 && c.s.kernel[0] == 1 && c.s.stride[1] == c.s.stride[2] &&
             c.s.dilation[1] == 1 && kernel::Depthwise::fits(c.s.kernel[1], c.s.stride[1], c.s.out[1])) {
    const Tensor maps = x.with_origin(nullptr).dense(ops.context().threads);
    depthwise(ops, c, maps.raw<float>(), weight.raw<float>(), start.raw<float>(), out.raw<float>());
  } else if (O <= few) {
    // A task makes the maps of a group ready and reads them while they are near; where there are too few groups, or too large ones,
    // all are made ready before and a task has some rows of one.
    const std::int64_t high = c.s.out[1], size = c.planes.size(), I = c.group_inputs(), tasks = c.batch * c.groups;
    const bool near = !c.planes.plain() && I * size <= 1 << 20 && tasks >= 2 * base::thread_count(ops.context().threads);
    const std::int64_t parts = near ? 1 : std::min<std::int64_t>(high, 4 * base::thread_count(ops.context().threads));
    const Tensor given = near ? x.with_origin(nullptr).dense(ops.context().threads) : c.ready(ops.context(), x);
    base::parallel(ops.context().threads, tasks * parts, [&](std::int64_t index, int) {
      const std::int64_t task = index / parts, row = high * (index % parts) / parts, rows = high * (index % parts + 1) / parts - row;
      const float* maps = given.raw<float>() + task * I * (near ? product_of(c.s.in) : size);
      if (near) {
        float* ready = product::scratch(I * size);
        for (std::int64_t i = 0; i < I; ++i) c.planes.load(loops, maps + i * product_of(c.s.in), ready + i * size);
        maps = ready;
      }
      for (std::int64_t o = task % c.groups * O; o < (task % c.groups + 1) * O; ++o)
        for (std::int64_t d = 0; d < c.s.out[0]; ++d) {
          float* to = out.raw<float>() + (((task / c.groups * c.outputs + o) * c.s.out[0] + d) * high + row) * wide;
          const float *from = maps + c.planes.row(d * high + row), *factors = weight.raw<float>() + o * K;
          if (I == 1 && c.s.kernel[0] == 1 && c.s.kernel[1] > 1 && c.s.dilation[1] == 1 && K <= 1024)
            loops.slide(from, c.planes.pitch(), c.s.stride[1], offsets.data(), factors, int(c.s.kernel[1]), int(c.s.kernel[2]),
                        start.raw<float>()[o], to, wide, rows, wide);
          else
            loops.taps(from, high > 1 ? c.planes.row(1) : 0, rows, offsets.data(), factors, K, start.raw<float>()[o], to, wide, wide);
        }
    });
  } else {
    Tensor maps = x.with_origin(nullptr).dense(ops.context().threads), factors = weight;
    std::int64_t channels = c.group_inputs();
    const product::Loops* words = channels >= 8 ? fast_loops(ops.context()) : nullptr;  // few channels: little to win
    if (words) {
      maps = pairs_of(ops.context(), maps, c.batch * c.groups, channels, product_of(c.s.in));
      factors = pairs_of(ops.context(), weight, c.outputs, channels, c.s.taps());
      channels = (channels + 1) / 2;
    }
    multiply_windows(
        ops.context(), Reading(c.s),
        {maps.raw<float>(), factors.raw<float>(), start.raw<float>(), out.raw<float>(), c.batch, c.groups, channels, O, words});
  }
  return ops.record("conv", out, {&x, &w, &bias}, [c, x, w](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? back_to_input(p.ops, c, p.gradient(), w) : Tensor(),
            p.wants(1) ? back_to_weight(p.ops, c, x, p.gradient()) : Tensor(),
            p.wants(2) ? p.ops.sum(p.gradient(), all_but_channels(c)) : Tensor()};
  });
}

Tensor back_to_input(const Ops& ops, const Conv& c, const Tensor& g, const Tensor& w, const Tensor& bias) {
  Tensor out(DType::f32, c.in());
  const Tensor gradient = g.with_origin(nullptr).dense(ops.context().threads), weight = w.with_origin(nullptr).dense();
  const Tensor start = bias.defined() ? bias.with_origin(nullptr).dense() : Tensor::zeros(DType::f32, {c.inputs});
  const auto& loops = kernel::maps_of(ops.context().isa);
  const std::int64_t I = c.group_inputs(), O = c.group_outputs(), T = c.s.taps(), K = c.depth(), S = c.s.places(), size = c.planes.size();
  if (O > few) {
    spread_windows(ops.context(), c.s,
                   {gradient.raw<float>(), weight.raw<float>(), start.raw<float>(), out.raw<float>(), c.batch, c.groups, O, I});
  } else {
    const auto offsets = c.offsets(1);
    base::parallel(ops.context().threads, c.batch * c.groups * I, [&](std::int64_t task, int) {  // a channel
      const std::int64_t channel = task % I, group = task / I % c.groups, b = task / I / c.groups;
      const std::unique_ptr<float[]> ready(new float[std::size_t(size)]());
      const float* from = gradient.raw<float>() + (b * c.outputs + group * O) * S;
      const float* factors = weight.raw<float>() + group * O * K + channel * T;
      for (std::int64_t o = 0; o < O; ++o)
        for (std::int64_t r = 0; r < c.s.rows(); ++r)
          for (std::int64_t k = 0; k < T; ++k)
            loops.add(from + o * S + r * c.s.out[2], factors[o * K + k], ready.get() + c.planes.row(r) + offsets[std::size_t(k)],
                      c.s.out[2]);
      const std::int64_t map = product_of(c.s.in);
      float* to = out.raw<float>() + task * map;
      c.planes.unload(ready.get(), to);
      if (bias.defined()) loops.affine(to, 1, start.raw<float>()[task % c.inputs], to, map);
    });
  }
  return ops.record("conv to input", out, {&g, &w, &bias}, [c, g, w](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? forward(p.ops, c, p.gradient(), w) : Tensor(), p.wants(1) ? back_to_weight(p.ops, c, p.gradient(), g) : Tensor(),
            p.wants(2) ? p.ops.sum(p.gradient(), all_but_channels(c)) : Tensor()};
  });
}

Tensor back_to_weight(const Ops& ops, const Conv& c, const Tensor& x, const Tensor& g) {
  Tensor out = Tensor::zeros(DType::f32, c.weight());
  const Tensor ready = c.ready(ops.context(), x), gradient = g.with_origin(nullptr).dense(ops.context().threads);
  const auto& loops = kernel::maps_of(ops.context().isa);
  const std::int64_t I = c.group_inputs(), O = c.group_outputs(), T = c.s.taps(), K = c.depth(), S = c.s.places();
  // A task owns the weights of some channels to some outputs of one group.
  const std::int64_t some = std::min(I, (63 + T) / std::max<std::int64_t>(T, 1)), parts = some == 0 ? 0 : (I + some - 1) / some;
  const std::int64_t high = O <= few ? 1 : std::min<std::int64_t>(O, 96), heights = high == 0 ? 0 : (O + high - 1) / high;
  base::parallel(ops.context().threads, c.groups * heights * parts, [&](std::int64_t task, int) {
    const std::int64_t part = task % parts, height = task / parts % heights, group = task / parts / heights;
    const std::int64_t channel = part * some, channels = std::min(some, I - channel), rows = channels * T;
    const std::int64_t first = group * O + height * high, outputs = std::min(high, O - height * high);
    const auto offsets = c.offsets(channels);
    float* to = out.raw<float>() + first * K + channel * T;
    const auto maps = [&](std::int64_t b) { return ready.raw<float>() + (b * c.inputs + group * I + channel) * c.planes.size(); };
    if (O <= few) {
      std::vector<double> total(std::size_t(rows), 0.0);
      for (std::int64_t b = 0; b < c.batch; ++b)
        for (std::int64_t r = 0; r < c.s.rows(); ++r)
          loops.dots(gradient.raw<float>() + (b * c.outputs + first) * S + r * c.s.out[2], maps(b) + c.planes.row(r), offsets.data(), rows,
                     c.s.out[2], total.data());
      std::copy(total.begin(), total.end(), to);
      return;
    }
    const std::int64_t each = c.block(rows);
    const std::unique_ptr<float[]> column(new float[std::size_t(rows * each)]), sum(new float[std::size_t(outputs * rows)]);
    for (std::int64_t b = 0; b < c.batch; ++b)
      for (std::int64_t begin = 0; begin < S; begin += each) {
        const std::int64_t n = std::min(each, S - begin);
        columns(c, maps(b), offsets, begin, n, column.get());
        multiply(ops, {gradient.raw<float>() + (b * c.outputs + first) * S + begin, S, 1}, {column.get(), 1, n}, sum.get(), rows, outputs,
                 rows, n);
        for (std::int64_t o = 0; o < outputs; ++o) loops.add(sum.get() + o * rows, 1, to + o * K, rows);
      }
  });
  return ops.record("conv to weight", out, {&x, &g}, [c, x, g](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? back_to_input(p.ops, c, g, p.gradient()) : Tensor(), p.wants(1) ? forward(p.ops, c, x, p.gradient()) : Tensor()};
  });
}

}  // namespace

Tensor Ops::conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options) const {
  need(x, DType::f32, "x");
  need(weight, DType::f32, "weight");
  const int axes = spatial_axes(x);
  const std::int64_t groups = options.groups;
  if (weight.rank() != x.rank()) fail("weight", "rank " + std::to_string(x.rank()), weight.shape().text());
  if (groups < 1 || x.extent(1) % groups)
    fail("groups", "a divisor of " + std::to_string(x.extent(1)) + " channels", std::to_string(groups));
  if (options.transposed ? weight.extent(0) != x.extent(1) : weight.extent(1) * groups != x.extent(1))
    fail("weight", "for " + std::to_string(x.extent(1)) + " channels in " + std::to_string(groups) + " groups", weight.shape().text());
  if (!options.transposed && weight.extent(0) % groups)
    fail("weight", "outputs in " + std::to_string(groups) + " groups", weight.shape().text());
  const std::int64_t outputs = options.transposed ? weight.extent(1) * groups : weight.extent(0);
  if (bias.defined()) {
    need(bias, DType::f32, "bias");
    if (bias.shape() != Shape{outputs}) fail("bias", Shape{outputs}.text(), bias.shape().text());
  }
  Triple before = triple(options.padding, axes, 0, 0, "padding");
  const Triple more = triple(options.output_padding, axes, 0, 0, "output_padding");
  if (!options.transposed && more != Triple{0, 0, 0}) fail("output_padding", "0 but for a transposed convolution", "more");
  Sliding s{axes,
            spatial_of(x.shape()),
            spatial_of(weight.shape()),
            triple(options.stride, axes, 1, 1, "stride"),
            before,
            triple(options.dilation, axes, 1, 1, "dilation"),
            {}};
  for (int a = 0; a < 3; ++a)
    if (s.kernel[std::size_t(a)] < 1) fail("weight", "a kernel of 1 or more", weight.shape().text());
  if (options.transposed) {
    if (options.padding_mode != PadMode::zeros || options.causal)
      fail("padding_mode, causal", "zeros and false for a transposed convolution", "another");
    s.out = s.in;
    for (std::size_t a = 0; a < 3; ++a) {
      if (more[a] >= s.stride[a] && more[a] >= s.dilation[a] && more[a] > 0)
        fail("output_padding", "less than the stride or the dilation", std::to_string(more[a]));
      s.in[a] = s.out[a] == 0 ? 0 : (s.out[a] - 1) * s.stride[a] - 2 * before[a] + s.reach(int(a)) + more[a];
      if (s.in[a] < 0) fail("padding", "less than the output", std::to_string(before[a]));
    }
    s.settle();
    const Conv c{s, x.extent(0), outputs, x.extent(1), groups, Planes(s)};
    return back_to_input(*this, c, x, weight, bias);
  }
  if (options.causal) {
    if (axes != 1 || before[2] != 0)
      fail("causal", "one spatial axis and no padding", std::to_string(axes) + " axes, padding " + std::to_string(before[2]));
    if (options.padding_mode != PadMode::zeros)
      return conv(extend(x, 2, s.reach(2) - 1, 0, options.padding_mode), weight, bias, {options.stride, {0}, options.dilation, groups});
    s.before[2] = s.reach(2) - 1;
  } else if (options.padding_mode != PadMode::zeros) {
    std::vector<int> along;
    for (int i = 0; i < axes; ++i) along.push_back(2 + i);
    const std::vector<std::int64_t> by(before.end() - axes, before.end());
    return conv(extend(x, along, by, by, options.padding_mode), weight, bias, {options.stride, {0}, options.dilation, groups});
  }
  for (std::size_t a = 0; a < 3; ++a) {
    const std::int64_t room = s.in[a] + s.before[a] + (options.causal ? 0 : s.before[a]) - s.reach(int(a));
    if (room < 0) fail("x", "a map of " + std::to_string(s.reach(int(a))) + " or more with its padding", x.shape().text());
    s.out[a] = room / s.stride[a] + 1;
  }
  s.settle();
  return forward(*this, Conv{s, x.extent(0), x.extent(1), outputs, groups, Planes(s)}, x, weight, bias);
}

}  // namespace v0
}  // namespace heed
