// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/lanes.h"
#include "ops/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

template <class F>
Tensor map(int threads, const Tensor& x, F&& value) {
  need(x, DType::f32, "x");
  const Tensor from = x.dense();
  Tensor out(DType::f32, x.shape());
  pieces(threads, x.count(), 16384, [&, source = from.data<float>(), to = out.data<float>()](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = value(source[i]);
  });
  return out;
}

/// body(row, offset of a, offset of b) for every row along the last axis, rows in order.
template <class F>
void rows(int threads, const Shape& shape, const Tensor& a, const Tensor& b, F&& body) {
  const std::int64_t wide = shape.rank() ? shape[-1] : 1, count = shape.count();
  if (count == 0) return;
  pieces(threads, count / wide, 16384 / wide, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t first = 0, second = 0, rest = row;
      for (int i = shape.rank() - 2; i >= 0; --i) {
        first += rest % shape[i] * a.stride(i);
        second += rest % shape[i] * b.stride(i);
        rest /= shape[i];
      }
      body(row, first, second);
    }
  });
}

template <class F>
Tensor zip(int threads, const Tensor& a, const Tensor& b, F&& value) {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const Shape shape = joint(a.shape(), b.shape(), "b");
  const Tensor left = a.broadcast(shape), right = b.broadcast(shape);
  Tensor out(DType::f32, shape);
  const std::int64_t wide = shape.rank() ? shape[-1] : 1;
  const std::int64_t s = shape.rank() ? left.stride(-1) : 1, t = shape.rank() ? right.stride(-1) : 1;
  rows(threads, shape, left, right, [&](std::int64_t row, std::int64_t first, std::int64_t second) {
    const float *x = left.data<float>() + first, *y = right.data<float>() + second;
    float* to = out.data<float>() + row * wide;
    if (s == 1 && t == 1)
      for (std::int64_t i = 0; i < wide; ++i) to[i] = value(x[i], y[i]);
    else
      for (std::int64_t i = 0; i < wide; ++i) to[i] = value(x[i * s], y[i * t]);
  });
  return out;
}

float logistic(float x) {
  const float e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

}  // namespace

Tensor Ops::add(const Tensor& a, const Tensor& b) const { return zip(context_.threads, a, b, [](float x, float y) { return x + y; }); }
Tensor Ops::sub(const Tensor& a, const Tensor& b) const { return zip(context_.threads, a, b, [](float x, float y) { return x - y; }); }
Tensor Ops::mul(const Tensor& a, const Tensor& b) const { return zip(context_.threads, a, b, [](float x, float y) { return x * y; }); }
Tensor Ops::div(const Tensor& a, const Tensor& b) const { return zip(context_.threads, a, b, [](float x, float y) { return x / y; }); }
Tensor Ops::maximum(const Tensor& a, const Tensor& b) const {
  return zip(context_.threads, a, b, [](float x, float y) { return x > y || x != x ? x : y; });
}
Tensor Ops::minimum(const Tensor& a, const Tensor& b) const {
  return zip(context_.threads, a, b, [](float x, float y) { return x < y || x != x ? x : y; });
}

Tensor Ops::where(const Tensor& mask, const Tensor& a, const Tensor& b) const {
  need(mask, DType::boolean, "mask");
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const Shape shape = joint(joint(a.shape(), b.shape(), "b"), mask.shape(), "mask");
  const Tensor left = a.broadcast(shape), right = b.broadcast(shape), pick = mask.broadcast(shape).dense();
  Tensor out(DType::f32, shape);
  const std::int64_t wide = shape.rank() ? shape[-1] : 1;
  const std::int64_t s = shape.rank() ? left.stride(-1) : 1, t = shape.rank() ? right.stride(-1) : 1;
  rows(context_.threads, shape, left, right, [&](std::int64_t row, std::int64_t first, std::int64_t second) {
    const float *x = left.data<float>() + first, *y = right.data<float>() + second;
    const auto* chosen = pick.data<std::uint8_t>() + row * wide;
    for (std::int64_t i = 0; i < wide; ++i) out.data<float>()[row * wide + i] = chosen[i] ? x[i * s] : y[i * t];
  });
  return out;
}

Tensor Ops::scale(const Tensor& x, float factor) const { return map(context_.threads, x, [=](float v) { return v * factor; }); }
Tensor Ops::shift(const Tensor& x, float offset) const { return map(context_.threads, x, [=](float v) { return v + offset; }); }
Tensor Ops::exp(const Tensor& x) const { return map(context_.threads, x, [](float v) { return std::exp(v); }); }
Tensor Ops::log(const Tensor& x) const { return map(context_.threads, x, [](float v) { return std::log(v); }); }
Tensor Ops::sigmoid(const Tensor& x) const { return map(context_.threads, x, logistic); }
Tensor Ops::tanh(const Tensor& x) const { return map(context_.threads, x, [](float v) { return std::tanh(v); }); }
Tensor Ops::relu(const Tensor& x) const { return map(context_.threads, x, [](float v) { return v < 0 ? 0.0f : v; }); }
Tensor Ops::gelu(const Tensor& x, bool by_tanh) const {
  if (by_tanh)
    return map(context_.threads, x, [](float v) { return 0.5f * v * (1 + std::tanh(0.7978845608f * (v + 0.044715f * v * v * v))); });
  return map(context_.threads, x, [](float v) { return 0.5f * v * std::erfc(-v * 0.70710678118f); });
}
Tensor Ops::silu(const Tensor& x) const { return map(context_.threads, x, [](float v) { return v * logistic(v); }); }
Tensor Ops::softplus(const Tensor& x) const {
  return map(context_.threads, x, [](float v) { return (v < 0 ? 0.0f : v) + std::log1p(std::exp(-std::abs(v))); });
}
Tensor Ops::neg(const Tensor& x) const { return map(context_.threads, x, [](float v) { return -v; }); }
Tensor Ops::sqrt(const Tensor& x) const { return map(context_.threads, x, [](float v) { return std::sqrt(v); }); }
Tensor Ops::rsqrt(const Tensor& x) const { return map(context_.threads, x, [](float v) { return 1 / std::sqrt(v); }); }
Tensor Ops::square(const Tensor& x) const { return map(context_.threads, x, [](float v) { return v * v; }); }
Tensor Ops::abs(const Tensor& x) const { return map(context_.threads, x, [](float v) { return std::abs(v); }); }

}  // namespace v0
}  // namespace heed
