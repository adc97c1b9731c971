// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <memory>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

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

/// The same by a loop of the instruction set.
Tensor map(const Context& context, const Tensor& x, kernel::ElementTable::Map loop) {
  need(x, DType::f32, "x");
  const Tensor from = x.dense();
  Tensor out(DType::f32, x.shape());
  pieces(context.threads, x.count(), 16384, [&, source = from.raw<float>(), to = out.raw<float>()](std::int64_t begin, std::int64_t end) {
    loop(source + begin, end - begin, to + begin);
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

/// Neighbouring axes that both walk with one stride become one: fewer, longer rows.
void merge_axes(Tensor& a, Tensor& b) {
  View x = a.raw_view(), y = b.raw_view();
  std::vector<std::int64_t> extents{1};
  std::vector<std::array<std::int64_t, 2>> strides{{0, 0}};
  for (int i = 0; i < x.rank(); ++i) {
    if (x.extent(i) == 1) continue;
    auto& last = strides.back();
    if (extents.back() == 1) {
      extents.back() = x.extent(i), last = {x.stride(i), y.stride(i)};
    } else if (last[0] == x.stride(i) * x.extent(i) && last[1] == y.stride(i) * x.extent(i)) {
      extents.back() *= x.extent(i), last = {x.stride(i), y.stride(i)};
    } else {
      extents.push_back(x.extent(i)), strides.push_back({x.stride(i), y.stride(i)});
    }
  }
  x.shape = y.shape = Shape(extents);
  for (std::size_t i = 0; i < strides.size(); ++i) x.strides[i] = strides[i][0], y.strides[i] = strides[i][1];
  a = Tensor(x, std::make_shared<Tensor>(a));
  b = Tensor(y, std::make_shared<Tensor>(b));
}

Tensor zip(const Context& context, const Tensor& a, const Tensor& b, kernel::ElementTable::Zip loop) {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const Shape shape = joint(a.shape(), b.shape(), "b");
  Tensor out(DType::f32, shape);
  if (shape.count() == 0) return out;
  Tensor left = a.with_origin(nullptr).broadcast(shape), right = b.with_origin(nullptr).broadcast(shape);
  merge_axes(left, right);
  if (left.stride(-1) != 0 && left.stride(-1) != 1) left = left.dense();
  if (right.stride(-1) != 0 && right.stride(-1) != 1) right = right.dense();
  const std::int64_t wide = left.extent(-1), s = left.stride(-1), t = right.stride(-1);
  const auto run = [&](std::int64_t row, std::int64_t first, std::int64_t second, std::int64_t begin, std::int64_t count) {
    loop(left.raw<float>() + first + begin * s, s, right.raw<float>() + second + begin * t, t, count,
         out.raw<float>() + row * wide + begin);
  };
  if (left.rank() == 1)
    pieces(context.threads, wide, 16384, [&](std::int64_t begin, std::int64_t end) { run(0, 0, 0, begin, end - begin); });
  else
    rows(context.threads, left.shape(), left, right,
         [&](std::int64_t row, std::int64_t first, std::int64_t second) { run(row, first, second, 0, wide); });
  return out;
}

}  // namespace

Tensor Ops::add(const Tensor& a, const Tensor& b) const {
  return record("add", zip(context_, a, b, kernel::elements_of(context_.isa).add), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.ops.sum_to(p.gradient(), t)};
                });
}
Tensor Ops::sub(const Tensor& a, const Tensor& b) const {
  return record("sub", zip(context_, a, b, kernel::elements_of(context_.isa).sub), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.wants(1) ? p.ops.neg(p.ops.sum_to(p.gradient(), t)) : Tensor()};
                });
}
Tensor Ops::mul(const Tensor& a, const Tensor& b) const {
  return record("mul", zip(context_, a, b, kernel::elements_of(context_.isa).mul), {&a, &b}, [a, b](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? p.ops.sum_to(p.ops.mul(p.gradient(), b), a.shape()) : Tensor(),
            p.wants(1) ? p.ops.sum_to(p.ops.mul(p.gradient(), a), b.shape()) : Tensor()};
  });
}
Tensor Ops::div(const Tensor& a, const Tensor& b) const {
  return record("div", zip(context_, a, b, kernel::elements_of(context_.isa).div), {&a, &b}, [a, b](const Pull& p) -> std::vector<Tensor> {
    const Tensor g = p.ops.div(p.gradient(), b);
    return {p.ops.sum_to(g, a.shape()), p.wants(1) ? p.ops.neg(p.ops.sum_to(p.ops.mul(g, p.ops.div(a, b)), b.shape())) : Tensor()};
  });
}
namespace {
/// The gradient goes to the chosen one, in halves where the two are equal.
std::vector<Tensor> pull_extreme(const Pull& p, const Tensor& a, const Tensor& b, bool larger) {
  const Tensor x = a.with_origin(nullptr), y = b.with_origin(nullptr);
  const Tensor half = p.ops.full({}, 0.5f), one = p.ops.full({}, 1), none = p.ops.full({}, 0);
  const Tensor share = p.ops.where(p.ops.equal(x, y), half, p.ops.where(larger ? p.ops.less(y, x) : p.ops.less(x, y), one, none));
  return {p.ops.sum_to(p.ops.mul(p.gradient(), share), a.shape()), p.ops.sum_to(p.ops.mul(p.gradient(), p.ops.sub(one, share)), b.shape())};
}
}  // namespace
Tensor Ops::maximum(const Tensor& a, const Tensor& b) const {
  return record("maximum", zip(context_, a, b, kernel::elements_of(context_.isa).max), {&a, &b},
                [a, b](const Pull& p) { return pull_extreme(p, a, b, true); });
}
Tensor Ops::minimum(const Tensor& a, const Tensor& b) const {
  return record("minimum", zip(context_, a, b, kernel::elements_of(context_.isa).min), {&a, &b},
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
  return record("scale", zip(context_, x, full({}, factor), kernel::elements_of(context_.isa).mul), {&x},
                [=](const Pull& p) -> std::vector<Tensor> { return {p.ops.scale(p.gradient(), factor)}; });
}
Tensor Ops::shift(const Tensor& x, float offset) const {
  return record("shift", zip(context_, x, full({}, offset), kernel::elements_of(context_.isa).add), {&x},
                [](const Pull& p) -> std::vector<Tensor> { return {p.gradient()}; });
}
Tensor Ops::neg(const Tensor& x) const { return scale(x, -1); }

// y = f(x): the derivative is slope(ops, x, y) times the gradient.
#define HEED_VALUE(value) map(context_.threads, x, [](float v) { return float(value); })
#define HEED_LOOP(loop) map(context_, x, kernel::elements_of(context_.isa).loop)
#define HEED_MAP(name, result, ...)                         \
  Tensor Ops::name(const Tensor& x) const {                 \
    return record(                                          \
        #name, result, {&x},                                \
        [x](const Pull& p) -> std::vector<Tensor> {         \
          const Ops& o = p.ops;                             \
          const Tensor y = p.output(), one = o.full({}, 1); \
          return {o.mul(p.gradient(), __VA_ARGS__)};        \
        },                                                  \
        true);                                              \
  }

HEED_MAP(exp, HEED_LOOP(exp), y)
HEED_MAP(log, HEED_VALUE(std::log(v)), o.div(one, x))
HEED_MAP(log1p, HEED_VALUE(std::log1p(v)), o.div(one, o.shift(x, 1)))
HEED_MAP(sigmoid, HEED_LOOP(sigmoid), o.mul(y, o.sub(one, y)))
HEED_MAP(tanh, HEED_LOOP(tanh), o.sub(one, o.square(y)))
HEED_MAP(silu, HEED_LOOP(silu), o.mul(o.sigmoid(x), o.add(one, o.sub(x, y))))
HEED_MAP(softplus, HEED_VALUE((v < 0 ? 0.0f : v) + std::log1p(std::exp(-std::abs(v)))), o.sigmoid(x))
HEED_MAP(sqrt, HEED_VALUE(std::sqrt(v)), o.div(o.full({}, 0.5f), y))
HEED_MAP(rsqrt, HEED_VALUE(1 / std::sqrt(v)), o.scale(o.div(y, x), -0.5f))
HEED_MAP(square, zip(context_, x, x, kernel::elements_of(context_.isa).mul), o.scale(x, 2))
HEED_MAP(abs, HEED_VALUE(std::abs(v)), o.sign(x))
HEED_MAP(sin, HEED_VALUE(std::sin(v)), o.cos(x))
HEED_MAP(cos, HEED_VALUE(std::cos(v)), o.neg(o.sin(x)))
HEED_MAP(erf, HEED_LOOP(erf), o.scale(o.exp(o.neg(o.square(x))), 1.1283791671f))
#undef HEED_MAP
#undef HEED_LOOP
#undef HEED_VALUE

Tensor Ops::sign(const Tensor& x) const {
  return record("sign", map(context_.threads, x, [](float v) { return float((v > 0) - (v < 0)); }), {&x},
                [s = x.shape()](const Pull& p) -> std::vector<Tensor> { return {p.ops.full(s, 0)}; });
}
Tensor Ops::relu(const Tensor& x) const { return leaky_relu(x, 0); }
Tensor Ops::leaky_relu(const Tensor& x, float slope) const {
  const Tensor out = slope == 0 ? zip(context_, x, full({}, 0), kernel::elements_of(context_.isa).max)
                                : map(context_.threads, x, [=](float v) { return v > 0 ? v : v * slope; });
  return record("leaky_relu", out, {&x}, [x, slope](const Pull& p) -> std::vector<Tensor> {
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
  return record("clamp", map(context_.threads, x, [=](float v) { return v < least  ? least
                                                                        : v > most ? most
                                                                                   : v; }), {&x},
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
  const auto& loops = kernel::elements_of(context_.isa);
  return record("gelu", map(context_, x, by_tanh ? loops.gelu_tanh : loops.gelu), {&x}, [x, by_tanh](const Pull& p) -> std::vector<Tensor> {
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
