// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// (x - mean) / sqrt(mean square + epsilon) weight + bias over the last axis; the mean only when `centred`.
Tensor normalise(const Context& context, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, bool centred) {
  need(x, DType::f32, "x");
  if (x.rank() < 1) fail("x", "rank 1 or more", x.shape().text());
  const std::int64_t wide = x.extent(-1);
  const auto vector = [&](const Tensor& given, const char* name) {
    if (!given.defined()) return given;
    need(given, DType::f32, name);
    if (given.shape() != Shape{wide}) fail(name, Shape{wide}.text(), given.shape().text());
    return given.dense(context.threads);
  };
  const Tensor gain = vector(weight, "weight"), offset = vector(bias, "bias"), from = x.dense(context.threads);
  Tensor out(DType::f32, x.shape());
  if (x.count() == 0) return out;
  const auto& loops = kernel::elements_of(context.isa);
  const float *factors = gain.defined() ? gain.raw<float>() : nullptr, *terms = offset.defined() ? offset.raw<float>() : nullptr;
  sweep(context.threads, x.count() / wide, 16384 / wide, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* v = from.raw<float>() + row * wide;
      const double mean = centred ? loops.sum(v, wide) / double(wide) : 0;
      const float factor = float(1 / std::sqrt(loops.squares(v, wide, mean) / double(wide) + epsilon));
      loops.normalise(v, wide, mean, factor, factors, terms, out.raw<float>() + row * wide);
    }
  });
  return out;
}

}  // namespace

namespace {

/// With y = (x - mean) f: dx = f (h - mean(h) - y mean(h y)), h = gradient * weight; mean(h) only when centred.
std::vector<Tensor> pull_norm(const Pull& p, const Tensor& x, const Tensor& weight, const Shape& bias, float epsilon, bool centred) {
  const Ops& o = p.ops;
  const Tensor g = p.gradient(), flat = centred ? o.sub(x, o.mean(x, {-1}, true)) : x;
  const Tensor factor = o.rsqrt(o.shift(o.mean(o.square(flat), {-1}, true), epsilon)), y = o.mul(flat, factor);
  const Tensor h = weight.defined() ? o.mul(g, weight) : g;
  std::vector<Tensor> back(3);
  if (p.wants(0)) {
    Tensor inner = o.sub(h, o.mul(y, o.mean(o.mul(h, y), {-1}, true)));
    if (centred) inner = o.sub(inner, o.mean(h, {-1}, true));
    back[0] = o.mul(inner, factor);
  }
  if (p.wants(1)) back[1] = o.sum_to(o.mul(g, y), weight.shape());
  if (p.wants(2)) back[2] = o.sum_to(g, bias);
  return back;
}

}  // namespace

Tensor Ops::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) const {
  return record("layer_norm", normalise(context_, x, weight, bias, epsilon, true), {&x, &weight, &bias},
                [x, weight, s = bias.shape(), epsilon](const Pull& p) { return pull_norm(p, x, weight, s, epsilon, true); });
}

Tensor Ops::rms_norm(const Tensor& x, const Tensor& weight, float epsilon) const {
  return record("rms_norm", normalise(context_, x, weight, {}, epsilon, false), {&x, &weight},
                [x, weight, epsilon](const Pull& p) { return pull_norm(p, x, weight, {}, epsilon, false); });
}

Tensor Ops::rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved) const {
  need(x, DType::f32, "x");
  need(cos, DType::f32, "cos");
  need(sin, DType::f32, "sin");
  if (x.rank() != 4) fail("x", "[B, N, H, D]", x.shape().text());
  const std::int64_t n = x.extent(1), h = x.extent(2), d = x.extent(3);
  if (cos.rank() != 2 || cos.extent(0) != n || 2 * cos.extent(1) > d)
    fail("cos", "[" + std::to_string(n) + ", R/2] with R <= " + std::to_string(d), cos.shape().text());
  if (sin.shape() != cos.shape()) fail("sin", cos.shape().text(), sin.shape().text());
  const std::int64_t half = cos.extent(1);
  const Tensor from = x.dense(context_.threads), c = cos.dense(context_.threads), s = sin.dense(context_.threads);
  Tensor out(DType::f32, x.shape());
  if (x.count() == 0) return out;
  sweep(context_.threads, x.count() / d, 16384 / d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* v = from.raw<float>() + row * d;
      float* to = out.raw<float>() + row * d;
      const std::int64_t at = row / h % n * half;
      std::copy(v + 2 * half, v + d, to + 2 * half);
      for (std::int64_t i = 0; i < half; ++i) {
        const std::int64_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
        const float turn = c.raw<float>()[at + i], lift = s.raw<float>()[at + i];
        to[a] = v[a] * turn - v[b] * lift;
        to[b] = v[b] * turn + v[a] * lift;
      }
    }
  });
  return record("rope", out, {&x, &cos, &sin}, [x, cos, sin, interleaved](const Pull& p) -> std::vector<Tensor> {
    const Ops& o = p.ops;
    std::vector<Tensor> back(3);
    if (p.wants(0)) back[0] = o.rope(p.gradient(), cos, o.neg(sin), interleaved);  // turns back
    if (!p.wants(1) && !p.wants(2)) return back;
    const std::int64_t half = cos.extent(1);
    const auto pair = [&](const Tensor& from) {  // the first and the second of each pair
      const Tensor turned = from.slice(3, 0, 2 * half);
      if (!interleaved) return std::pair{turned.slice(3, 0, half), turned.slice(3, half, half)};
      const Tensor pairs = turned.reshape({from.extent(0), from.extent(1), from.extent(2), half, 2});
      const Shape flat{from.extent(0), from.extent(1), from.extent(2), half};
      return std::pair{pairs.slice(4, 0, 1).reshape(flat), pairs.slice(4, 1, 1).reshape(flat)};
    };
    const auto [a, b] = pair(x);
    const auto [g, h] = pair(p.gradient());
    if (p.wants(1)) back[1] = o.sum(o.add(o.mul(g, a), o.mul(h, b)), {0, 2});
    if (p.wants(2)) back[2] = o.sum(o.sub(o.mul(h, a), o.mul(g, b)), {0, 2});
    return back;
  });
}

}  // namespace v0
}  // namespace heed
