// SPDX-License-Identifier: Apache-2.0
// Norms of maps x[B, C, *spatial]: y = (x - mean) / sqrt(variance + epsilon) weight[c] + bias[c]. The statistics are given, or
// those of a set of maps: all of a channel (batch), those of a group of channels of one image (group), a single one (instance).
#include <cmath>

#include "heed/ops.h"
#include "kernel/maps.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

struct Sets {
  std::int64_t batch, channels, size;  ///< of x seen as [batch, channels, size]
  std::int64_t groups;                 ///< of channels of one image; 0: a set is a channel of all images

  explicit Sets(const Tensor& x, std::int64_t by) : batch(0), channels(0), size(1), groups(by) {
    need(x, DType::f32, "x");
    if (x.rank() < 2) fail("x", "[B, C, *spatial]", x.shape().text());
    batch = x.extent(0), channels = x.extent(1);
    for (int i = 2; i < x.rank(); ++i) size *= x.extent(i);
    if (groups < 0 || (groups > 0 && channels % groups))
      fail("groups", "a divisor of " + std::to_string(channels) + " channels", std::to_string(groups));
  }
  std::int64_t count() const { return groups == 0 ? channels : batch * groups; }
  std::int64_t of(std::int64_t map) const { return groups == 0 ? map % channels : map / (channels / groups); }
  /// x and the axes over which a set reaches.
  Shape shape() const { return groups == 0 ? Shape{batch, 1, channels, size} : Shape{batch, groups, channels / groups, size}; }
  std::vector<int> axes() const { return groups == 0 ? std::vector<int>{0, 1, 3} : std::vector<int>{2, 3}; }
  Shape of_channels() const { return groups == 0 ? Shape{1, 1, channels, 1} : Shape{1, groups, channels / groups, 1}; }
};

struct Moments {
  std::vector<float> mean, variance;
};

Moments moments(const Ops& ops, const Tensor& dense, const Sets& s) {
  const auto n = std::size_t(s.count());
  Moments m{std::vector<float>(n), std::vector<float>(n)};
  const auto& loops = kernel::maps_of(ops.context().isa);
  const std::int64_t run = s.groups == 0 ? s.size : s.channels / s.groups * s.size, runs = s.groups == 0 ? s.batch : 1;
  const std::int64_t apart = s.channels * s.size, length = run * runs;
  sweep(ops.context().threads, s.count(), 16384 / std::max<std::int64_t>(1, length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* first = dense.raw<float>() + i * run;
      double total = 0, squares = 0;
      for (std::int64_t r = 0; r < runs; ++r) total += loops.sum(first + r * apart, run);
      const float mean = float(total / double(length));
      for (std::int64_t r = 0; r < runs; ++r) squares += loops.squares(first + r * apart, mean, run);
      m.mean[std::size_t(i)] = mean;
      m.variance[std::size_t(i)] = float(squares / double(length));
    }
  });
  return m;
}

Tensor vector_of(const Tensor& given, std::int64_t channels, const char* name) {
  if (!given.defined()) return given;
  need(given, DType::f32, name);
  if (given.shape() != Shape{channels}) fail(name, Shape{channels}.text(), given.shape().text());
  return given.with_origin(nullptr).dense();
}

Tensor apply(const Ops& ops, const Tensor& dense, const Sets& s, const float* mean, const float* variance, const Tensor& weight,
             const Tensor& bias, float epsilon) {
  const Tensor gain = vector_of(weight, s.channels, "weight"), offset = vector_of(bias, s.channels, "bias"), out(DType::f32, dense.shape());
  const auto& loops = kernel::maps_of(ops.context().isa);
  sweep(ops.context().threads, s.batch * s.channels, 16384 / std::max<std::int64_t>(1, s.size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t set = s.of(i), c = i % s.channels;
      double factor = 1 / std::sqrt(double(variance[set]) + double(epsilon));
      if (gain.defined()) factor *= gain.raw<float>()[c];
      const double start = (offset.defined() ? offset.raw<float>()[c] : 0.0) - mean[set] * factor;
      loops.affine(dense.raw<float>() + i * s.size, float(factor), float(start), out.raw<float>() + i * s.size, s.size);
    }
  });
  return out;
}

/// With y = (x - mean) f: dx = f (h - mean(h) - y mean(h y)), h = gradient * weight, means over a set.
std::vector<Tensor> pull_sets(const Pull& p, const Tensor& x, const Tensor& weight, const Shape& bias, const Sets& s, float epsilon) {
  const Ops& o = p.ops;
  const auto axes = s.axes();
  const Tensor g = p.gradient().reshape(s.shape()), all = x.reshape(s.shape()), flat = o.sub(all, o.mean(all, axes, true));
  const Tensor factor = o.rsqrt(o.shift(o.mean(o.square(flat), axes, true), epsilon)), y = o.mul(flat, factor);
  std::vector<Tensor> back(3);
  if (p.wants(0)) {
    const Tensor h = weight.defined() ? o.mul(g, weight.reshape(s.of_channels())) : g;
    const Tensor inner = o.sub(o.sub(h, o.mul(y, o.mean(o.mul(h, y), axes, true))), o.mean(h, axes, true));
    back[0] = o.mul(inner, factor).reshape(x.shape());
  }
  if (p.wants(1)) back[1] = o.sum_to(o.mul(g, y), s.of_channels()).reshape(weight.shape());
  if (p.wants(2)) back[2] = o.sum_to(g, s.of_channels()).reshape(bias);
  return back;
}

Tensor by_sets(const Ops& ops, const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, const Sets& s) {
  const Tensor dense = x.with_origin(nullptr).dense();
  const Moments m = moments(ops, dense, s);
  return ops.record(name, apply(ops, dense, s, m.mean.data(), m.variance.data(), weight, bias, epsilon), {&x, &weight, &bias},
                    [x, weight, shape = bias.shape(), s, epsilon](const Pull& p) { return pull_sets(p, x, weight, shape, s, epsilon); });
}

}  // namespace

Tensor Ops::batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& weight, const Tensor& bias,
                       float epsilon) const {
  const Sets s(x, 0);
  if (mean.defined() != variance.defined()) fail("mean, variance", "both or none", "one");
  if (!mean.defined()) {
    if (s.batch * s.size < 2) fail("x", "two values or more a channel", x.shape().text());
    return by_sets(*this, "batch_norm", x, weight, bias, epsilon, s);
  }
  const Tensor m = vector_of(mean, s.channels, "mean"), v = vector_of(variance, s.channels, "variance");
  const Tensor out = apply(*this, x.with_origin(nullptr).dense(context_.threads), s, m.raw<float>(), v.raw<float>(), weight, bias, epsilon);
  return record("batch_norm", out, {&x, &mean, &variance, &weight, &bias},
                [x, mean, variance, weight, bias, epsilon, s](const Pull& p) -> std::vector<Tensor> {
                  const Ops& o = p.ops;
                  const Shape each = s.of_channels();
                  const Tensor g = p.gradient().reshape(s.shape()), root = o.rsqrt(o.shift(variance, epsilon)),
                               factor = weight.defined() ? o.mul(weight, root) : root;
                  std::vector<Tensor> back(5);
                  if (p.wants(0)) back[0] = o.mul(g, factor.reshape(each)).reshape(x.shape());
                  const Tensor total = p.wants(1) || p.wants(4) ? o.sum_to(g, each).reshape(mean.shape()) : Tensor();
                  if (p.wants(1)) back[1] = o.neg(o.mul(total, factor));
                  if (p.wants(2) || p.wants(3)) {
                    const Tensor y = o.mul(o.sub(x.reshape(s.shape()), mean.reshape(each)), root.reshape(each));  // normalised
                    const Tensor along = o.sum_to(o.mul(g, y), each).reshape(mean.shape());
                    if (p.wants(2)) back[2] = o.scale(o.mul(along, o.mul(factor, root)), -0.5f);
                    if (p.wants(3)) back[3] = along;
                  }
                  if (p.wants(4)) back[4] = total;
                  return back;
                });
}

std::pair<Tensor, Tensor> Ops::batch_statistics(const Tensor& x) const {
  const Sets s(x, 0);
  if (s.batch * s.size < 2) fail("x", "two values or more a channel", x.shape().text());
  const Tensor all = x.reshape(s.shape()), centre = mean(all, s.axes(), true);
  const Tensor squares = sum(square(sub(all, centre)), s.axes());
  return {centre.reshape({s.channels}), scale(squares, float(1.0 / double(s.batch * s.size - 1)))};
}

Tensor Ops::group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, float epsilon) const {
  if (groups < 1) fail("groups", "1 or more", std::to_string(groups));
  return by_sets(*this, "group_norm", x, weight, bias, epsilon, Sets(x, groups));
}

Tensor Ops::instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) const {
  const Sets s(x, 0);
  return by_sets(*this, "instance_norm", x, weight, bias, epsilon, Sets(x, std::max<std::int64_t>(1, s.channels)));
}

}  // namespace v0
}  // namespace heed
