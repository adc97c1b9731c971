// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/lanes.h"
#include "heed/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

template <class F>
Tensor map(int threads, const Tensor& x, F&& value) {
  need(x, DType::f32, "x");
  const Tensor from = x.dense();
  Tensor out(DType::f32, x.shape());
  pieces(threads, x.count(), 16384, [&, source = from.raw<float>(), to = out.raw<float>()](std::int64_t begin, std::int64_t end) {
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
    const float *x = left.raw<float>() + first, *y = right.raw<float>() + second;
    float* to = out.raw<float>() + row * wide;
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

Tensor Ops::add(const Tensor& a, const Tensor& b) const {
  return record("add", zip(context_.threads, a, b, [](float x, float y) { return x + y; }), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.ops.sum_to(p.gradient(), t)};
                });
}
Tensor Ops::sub(const Tensor& a, const Tensor& b) const {
  return record("sub", zip(context_.threads, a, b, [](float x, float y) { return x - y; }), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.wants(1) ? p.ops.neg(p.ops.sum_to(p.gradient(), t)) : Tensor()};
                });
}
Tensor Ops::mul(const Tensor& a, const Tensor& b) const {
  return record("mul", zip(context_.threads, a, b, [](float x, float y) { return x * y; }), {&a, &b},
                [a, b](const Pull& p) -> std::vector<Tensor> {
                  return {p.wants(0) ? p.ops.sum_to(p.ops.mul(p.gradient(), b), a.shape()) : Tensor(),
                          p.wants(1) ? p.ops.sum_to(p.ops.mul(p.gradient(), a), b.shape()) : Tensor()};
                });
}
Tensor Ops::div(const Tensor& a, const Tensor& b) const {
  return record("div", zip(context_.threads, a, b, [](float x, float y) { return x / y; }), {&a, &b},
                [a, b](const Pull& p) -> std::vector<Tensor> {
                  const Tensor g = p.ops.div(p.gradient(), b);
                  return {p.ops.sum_to(g, a.shape()),
                          p.wants(1) ? p.ops.neg(p.ops.sum_to(p.ops.mul(g, p.ops.div(a, b)), b.shape())) : Tensor()};
                });
}
namespace {
/// The gradient goes to the chosen one, in halves where the two are equal.
std::vector<Tensor> pull_extreme(const Pull& p, const Tensor& a, const Tensor& b, bool larger) {
  const Tensor x = a.with_origin(nullptr), y = b.with_origin(nullptr);
  const Tensor half = p.ops.full({}, 0.5f), one = p.ops.full({}, 1), none = p.ops.full({}, 0);
  const Tensor share = p.ops.where(p.ops.equal(x, y), half, p.ops.where(larger ? p.ops.less(y, x) : p.ops.less(x, y), one, none));
  return {p.ops.sum_to(p.ops.mul(p.gradient(), share), a.shape()),
          p.ops.sum_to(p.ops.mul(p.gradient(), p.ops.sub(one, share)), b.shape())};
}
}  // namespace
Tensor Ops::maximum(const Tensor& a, const Tensor& b) const {
  return record("maximum", zip(context_.threads, a, b, [](float x, float y) { return x > y || x != x ? x : y; }), {&a, &b},
                [a, b](const Pull& p) { return pull_extreme(p, a, b, true); });
}
Tensor Ops::minimum(const Tensor& a, const Tensor& b) const {
  return record("minimum", zip(context_.threads, a, b, [](float x, float y) { return x < y || x != x ? x : y; }), {&a, &b},
                [a, b](const Pull& p) { return pull_extreme(p, a, b, false); });
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
    const float *x = left.raw<float>() + first, *y = right.raw<float>() + second;
    const auto* chosen = pick.raw<std::uint8_t>() + row * wide;
    for (std::int64_t i = 0; i < wide; ++i) out.raw<float>()[row * wide + i] = chosen[i] ? x[i * s] : y[i * t];
  });
  return record("where", out, {&a, &b}, [mask, s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
    const Tensor none = p.ops.full({}, 0);
    return {p.wants(0) ? p.ops.sum_to(p.ops.where(mask, p.gradient(), none), s) : Tensor(),
            p.wants(1) ? p.ops.sum_to(p.ops.where(mask, none, p.gradient()), t) : Tensor()};
  });
}

namespace {
template <class F>
Tensor compare(int threads, DType dtype, const Tensor& a, const Tensor& b, F&& holds) {
  need(a, dtype, "a");
  need(b, dtype, "b");
  const Shape shape = joint(a.shape(), b.shape(), "b");
  const Tensor left = a.with_origin(nullptr).broadcast(shape).dense(), right = b.with_origin(nullptr).broadcast(shape).dense();
  Tensor out(DType::boolean, shape);
  pieces(threads, shape.count(), 16384, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out.raw<std::uint8_t>()[i] = holds(left, right, i);
  });
  return out;
}
}  // namespace

Tensor Ops::less(const Tensor& a, const Tensor& b) const {
  return compare(context_.threads, DType::f32, a, b,
                 [](const Tensor& x, const Tensor& y, std::int64_t i) { return x.raw<float>()[i] < y.raw<float>()[i]; });
}
Tensor Ops::equal(const Tensor& a, const Tensor& b) const {
  return compare(context_.threads, DType::f32, a, b,
                 [](const Tensor& x, const Tensor& y, std::int64_t i) { return x.raw<float>()[i] == y.raw<float>()[i]; });
}
Tensor Ops::both(const Tensor& a, const Tensor& b) const {
  return compare(context_.threads, DType::boolean, a, b,
                 [](const Tensor& x, const Tensor& y, std::int64_t i) { return x.raw<std::uint8_t>()[i] && y.raw<std::uint8_t>()[i]; });
}
Tensor Ops::either(const Tensor& a, const Tensor& b) const {
  return compare(context_.threads, DType::boolean, a, b,
                 [](const Tensor& x, const Tensor& y, std::int64_t i) { return x.raw<std::uint8_t>()[i] || y.raw<std::uint8_t>()[i]; });
}
Tensor Ops::negate(const Tensor& mask) const {
  return compare(context_.threads, DType::boolean, mask, mask,
                 [](const Tensor& x, const Tensor&, std::int64_t i) { return !x.raw<std::uint8_t>()[i]; });
}

Tensor Ops::scale(const Tensor& x, float factor) const {
  return record("scale", map(context_.threads, x, [=](float v) { return v * factor; }), {&x},
                [=](const Pull& p) -> std::vector<Tensor> { return {p.ops.scale(p.gradient(), factor)}; });
}
Tensor Ops::shift(const Tensor& x, float offset) const {
  return record("shift", map(context_.threads, x, [=](float v) { return v + offset; }), {&x},
                [](const Pull& p) -> std::vector<Tensor> { return {p.gradient()}; });
}
Tensor Ops::neg(const Tensor& x) const { return scale(x, -1); }

// y = f(x): the derivative is slope(ops, x, y) times the gradient.
#define HEED_MAP(name, value, ...)                                                                                    \
  Tensor Ops::name(const Tensor& x) const {                                                                           \
    return record(#name, map(context_.threads, x, [](float v) { return float(value); }), {&x},                        \
                  [x](const Pull& p) -> std::vector<Tensor> {                                                         \
                    const Ops& o = p.ops;                                                                             \
                    const Tensor y = p.output(), one = o.full({}, 1);                                                 \
                    return {o.mul(p.gradient(), __VA_ARGS__)};                                                        \
                  },                                                                                                  \
                  true);                                                                                              \
  }

HEED_MAP(exp, std::exp(v), y)
HEED_MAP(log, std::log(v), o.div(one, x))
HEED_MAP(log1p, std::log1p(v), o.div(one, o.shift(x, 1)))
HEED_MAP(sigmoid, logistic(v), o.mul(y, o.sub(one, y)))
HEED_MAP(tanh, std::tanh(v), o.sub(one, o.square(y)))
HEED_MAP(silu, v* logistic(v), o.mul(o.sigmoid(x), o.add(one, o.sub(x, y))))
HEED_MAP(softplus, (v < 0 ? 0.0f : v) + std::log1p(std::exp(-std::abs(v))), o.sigmoid(x))
HEED_MAP(sqrt, std::sqrt(v), o.div(o.full({}, 0.5f), y))
HEED_MAP(rsqrt, 1 / std::sqrt(v), o.scale(o.div(y, x), -0.5f))
HEED_MAP(square, v* v, o.scale(x, 2))
HEED_MAP(abs, std::abs(v), o.sign(x))
HEED_MAP(sin, std::sin(v), o.cos(x))
HEED_MAP(cos, std::cos(v), o.neg(o.sin(x)))
HEED_MAP(erf, std::erf(v), o.scale(o.exp(o.neg(o.square(x))), 1.1283791671f))
#undef HEED_MAP

Tensor Ops::sign(const Tensor& x) const {
  return record("sign", map(context_.threads, x, [](float v) { return float((v > 0) - (v < 0)); }), {&x},
                [s = x.shape()](const Pull& p) -> std::vector<Tensor> { return {p.ops.full(s, 0)}; });
}
Tensor Ops::relu(const Tensor& x) const { return leaky_relu(x, 0); }
Tensor Ops::leaky_relu(const Tensor& x, float slope) const {
  return record("leaky_relu", map(context_.threads, x, [=](float v) { return v > 0 ? v : v < 0 || slope != 0 ? v * slope : v == 0 ? 0.0f : v; }), {&x},
                [x, slope](const Pull& p) -> std::vector<Tensor> {
                  const Tensor above = p.ops.less(p.ops.full({}, 0), x);
                  return {p.ops.where(above, p.gradient(), p.ops.scale(p.gradient(), slope))};
                });
}
Tensor Ops::elu(const Tensor& x, float alpha) const {
  return record("elu", map(context_.threads, x, [=](float v) { return v > 0 ? v : alpha * std::expm1(v); }), {&x},
                [x, alpha](const Pull& p) -> std::vector<Tensor> {
                  const Tensor none = p.ops.full({}, 0), below = p.ops.scale(p.ops.exp(p.ops.minimum(x, none)), alpha);
                  return {p.ops.where(p.ops.less(none, x), p.gradient(), p.ops.mul(p.gradient(), below))};
                });
}
Tensor Ops::clamp(const Tensor& x, float least, float most) const {
  if (!(least <= most)) fail("least", "at most " + std::to_string(most), std::to_string(least));
  return record("clamp", map(context_.threads, x, [=](float v) { return v < least ? least : v > most ? most : v; }), {&x},
                [x, least, most](const Pull& p) -> std::vector<Tensor> {
                  const Tensor outside = p.ops.either(p.ops.less(x, p.ops.full({}, least)), p.ops.less(p.ops.full({}, most), x));
                  return {p.ops.where(outside, p.ops.full({}, 0), p.gradient())};
                });
}
Tensor Ops::pow(const Tensor& x, float exponent) const {
  return record("pow", map(context_.threads, x, [=](float v) { return std::pow(v, exponent); }), {&x},
                [x, exponent](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.mul(p.gradient(), p.ops.scale(p.ops.pow(x, exponent - 1), exponent))};
                });
}
Tensor Ops::gelu(const Tensor& x, bool by_tanh) const {
  constexpr float root = 0.7978845608f, cubic = 0.044715f;
  const auto value = [=](float v) {
    return by_tanh ? 0.5f * v * (1 + std::tanh(root * (v + cubic * v * v * v))) : 0.5f * v * std::erfc(-v * 0.70710678118f);
  };
  return record("gelu", map(context_.threads, x, value), {&x}, [x, by_tanh](const Pull& p) -> std::vector<Tensor> {
    const Ops& o = p.ops;
    const Tensor square = o.square(x), one = o.full({}, 1);
    if (!by_tanh) {  // Phi(x) + x phi(x)
      const Tensor below = o.scale(o.shift(o.erf(o.scale(x, 0.70710678118f)), 1), 0.5f);
      return {o.mul(p.gradient(), o.add(below, o.mul(x, o.scale(o.exp(o.scale(square, -0.5f)), 0.39894228040f))))};
    }
    const Tensor t = o.tanh(o.scale(o.mul(x, o.shift(o.scale(square, cubic), 1)), root));
    const Tensor inner = o.scale(o.shift(o.scale(square, 3 * cubic), 1), root);
    const Tensor slope = o.add(o.shift(t, 1), o.mul(x, o.mul(o.sub(one, o.square(t)), inner)));
    return {o.mul(p.gradient(), o.scale(slope, 0.5f))};
  });
}

}  // namespace v0
}  // namespace heed
