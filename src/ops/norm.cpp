// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/lanes.h"
#include "ops/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// (x - mean) / sqrt(mean square + epsilon) weight + bias over the last axis; the mean only when `centred`.
Tensor normalise(int threads, const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon, bool centred) {
  need(x, DType::f32, "x");
  if (x.rank() < 1) fail("x", "rank 1 or more", x.shape().text());
  const std::int64_t wide = x.extent(-1);
  const auto vector = [&](const Tensor& given, const char* name) {
    if (!given.defined()) return given;
    need(given, DType::f32, name);
    if (given.shape() != Shape{wide}) fail(name, Shape{wide}.text(), given.shape().text());
    return given.dense();
  };
  const Tensor gain = vector(weight, "weight"), offset = vector(bias, "bias"), from = x.dense();
  Tensor out(DType::f32, x.shape());
  if (x.count() == 0) return out;
  pieces(threads, x.count() / wide, 16384 / wide, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* v = from.data<float>() + row * wide;
      float* to = out.data<float>() + row * wide;
      double mean = 0, square = 0;
      if (centred) {
        for (std::int64_t i = 0; i < wide; ++i) mean += v[i];
        mean /= double(wide);
      }
      for (std::int64_t i = 0; i < wide; ++i) square += (v[i] - mean) * (v[i] - mean);
      const double factor = 1 / std::sqrt(square / double(wide) + epsilon);
      for (std::int64_t i = 0; i < wide; ++i) {
        double value = (v[i] - mean) * factor;
        if (gain.defined()) value *= gain.data<float>()[i];
        if (offset.defined()) value += offset.data<float>()[i];
        to[i] = float(value);
      }
    }
  });
  return out;
}

}  // namespace

Tensor Ops::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float epsilon) const {
  return normalise(context_.threads, x, weight, bias, epsilon, true);
}

Tensor Ops::rms_norm(const Tensor& x, const Tensor& weight, float epsilon) const {
  return normalise(context_.threads, x, weight, {}, epsilon, false);
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
  const Tensor from = x.dense(), c = cos.dense(), s = sin.dense();
  Tensor out(DType::f32, x.shape());
  if (x.count() == 0) return out;
  pieces(context_.threads, x.count() / d, 16384 / d, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* v = from.data<float>() + row * d;
      float* to = out.data<float>() + row * d;
      const std::int64_t at = row / h % n * half;
      std::copy(v + 2 * half, v + d, to + 2 * half);
      for (std::int64_t i = 0; i < half; ++i) {
        const std::int64_t a = interleaved ? 2 * i : i, b = interleaved ? 2 * i + 1 : i + half;
        const float turn = c.data<float>()[at + i], lift = s.data<float>()[at + i];
        to[a] = v[a] * turn - v[b] * lift;
        to[b] = v[b] * turn + v[a] * lift;
      }
    }
  });
  return out;
}

}  // namespace v0
}  // namespace heed
