// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>
#include <memory>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// Elements that pay for a second thread, where a loop is bound by memory and where it computes.
constexpr std::int64_t light = 32768, heavy = 16384;

/// loop(from, count, to) over blocks of x.
template <class F>
Tensor map(const Context& context, const Tensor& x, F&& loop, std::int64_t unit = heavy) {
  need(x, DType::f32, "x");
  const Tensor from = x.with_origin(nullptr).dense(context.threads);
  Tensor out(DType::f32, x.shape());
  sweep(context.threads, x.count(), unit, [=, source = from.raw<float>(), to = out.raw<float>()](std::int64_t begin, std::int64_t end) {
    loop(source + begin, end - begin, to + begin);
  });
  return out;
}

/// How two tensors, stretched to one shape, are walked: neighbouring axes on which both go on with one stride are one.
struct Walk {
  int rank = 0;
  std::array<std::int64_t, max_rank> extent, a, b;

  Walk(const Shape& shape, const View& x, const View& y) {
    const auto stride = [&](const View& v, int axis) {
      const int own = axis - shape.rank() + v.rank();
      return own < 0 || v.extent(own) == 1 ? 0 : v.stride(own);
    };
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] == 1) continue;
      const std::int64_t n = shape[i], s = stride(x, i), t = stride(y, i);
      if (rank == 0 || a[last()] != s * n || b[last()] != t * n) extent[std::size_t(rank++)] = 1;
      extent[last()] *= n, a[last()] = s, b[last()] = t;
    }
    if (rank == 0) rank = 1, extent[0] = 1, a[0] = b[0] = 0;
  }
  std::size_t last() const { return std::size_t(rank - 1); }
  /// Whether the rows along the last axis are ones for the loops: of stride 0 or 1.
  bool first_fits() const { return a[last()] == 0 || a[last()] == 1; }
  bool second_fits() const { return b[last()] == 0 || b[last()] == 1; }

  /// body(place of the result, of a, of b, how many) for pieces of rows, in blocks.
  template <class F>
  void run(int threads, F&& body) const {
    const std::int64_t wide = extent[last()], s = a[last()], t = b[last()];
    if (rank == 1)
      return sweep(threads, wide, light, [&](std::int64_t begin, std::int64_t end) { body(begin, begin * s, begin * t, end - begin); });
    std::int64_t count = 1;
    for (std::size_t i = 0; i < last(); ++i) count *= extent[i];
    sweep(threads, count, light / wide, [&](std::int64_t begin, std::int64_t end) {
      std::array<std::int64_t, max_rank> index{};
      std::int64_t first = 0, second = 0, rest = begin;
      for (std::size_t i = last(); i-- > 0; rest /= extent[i]) {
        index[i] = rest % extent[i];
        first += index[i] * a[i], second += index[i] * b[i];
      }
      for (std::int64_t row = begin; row < end; ++row) {
        body(row * wide, first, second, wide);
        for (std::size_t i = last(); i-- > 0;) {
          first += a[i], second += b[i];
          if (++index[i] < extent[i]) break;
          first -= extent[i] * a[i], second -= extent[i] * b[i];
          index[i] = 0;
        }
      }
    });
  }
};

Tensor stretched(const Context& context, const Tensor& x, const Shape& shape) {
  return x.with_origin(nullptr).broadcast(shape).dense(context.threads);
}

/// out[i] = loop(a[i], b[i]), shapes broadcast; T is the type of out.
template <class T, class Loop>
Tensor zip(const Context& context, const Tensor& a, const Tensor& b, Loop loop, DType dtype = DType::f32) {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const Shape shape = a.shape() == b.shape() ? a.shape() : joint(a.shape(), b.shape(), "b");
  if (shape.count() == 0) return Tensor(dtype, shape);
  const Walk walk(shape, a.raw_view(), b.raw_view());
  if (!walk.first_fits()) return zip<T>(context, stretched(context, a, shape), b, loop, dtype);
  if (!walk.second_fits()) return zip<T>(context, a, stretched(context, b, shape), loop, dtype);
  Tensor out(dtype, shape);
  const std::int64_t s = walk.a[walk.last()], t = walk.b[walk.last()];
  const auto *x = a.raw<float>(), *y = b.raw<float>();
  auto* to = out.raw<T>();
  walk.run(context.threads, [=](std::int64_t at, std::int64_t first, std::int64_t second, std::int64_t n) {
    loop(x + first, s, y + second, t, n, to + at);
  });
  return out;
}

}  // namespace

Tensor Ops::add(const Tensor& a, const Tensor& b) const {
  return record("add", zip<float>(context_, a, b, kernel::elements_of(context_.isa).add), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.ops.sum_to(p.gradient(), t)};
                });
}
Tensor Ops::sub(const Tensor& a, const Tensor& b) const {
  return record("sub", zip<float>(context_, a, b, kernel::elements_of(context_.isa).sub), {&a, &b},
                [s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.sum_to(p.gradient(), s), p.wants(1) ? p.ops.neg(p.ops.sum_to(p.gradient(), t)) : Tensor()};
                });
}
Tensor Ops::mul(const Tensor& a, const Tensor& b) const {
  return record("mul", zip<float>(context_, a, b, kernel::elements_of(context_.isa).mul), {&a, &b},
                [a, b](const Pull& p) -> std::vector<Tensor> {
                  return {p.wants(0) ? p.ops.sum_to(p.ops.mul(p.gradient(), b), a.shape()) : Tensor(),
                          p.wants(1) ? p.ops.sum_to(p.ops.mul(p.gradient(), a), b.shape()) : Tensor()};
                });
}
Tensor Ops::div(const Tensor& a, const Tensor& b) const {
  return record(
      "div", zip<float>(context_, a, b, kernel::elements_of(context_.isa).div), {&a, &b}, [a, b](const Pull& p) -> std::vector<Tensor> {
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
  return record("maximum", zip<float>(context_, a, b, kernel::elements_of(context_.isa).max), {&a, &b},
                [a, b](const Pull& p) { return pull_extreme(p, a, b, true); });
}
Tensor Ops::minimum(const Tensor& a, const Tensor& b) const {
  return record("minimum", zip<float>(context_, a, b, kernel::elements_of(context_.isa).min), {&a, &b},
                [a, b](const Pull& p) { return pull_extreme(p, a, b, false); });
}

Tensor Ops::where(const Tensor& mask, const Tensor& a, const Tensor& b) const {
  need(mask, DType::boolean, "mask");
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const Shape shape = joint(joint(a.shape(), b.shape(), "b"), mask.shape(), "mask");
  Tensor first = a.with_origin(nullptr), second = b.with_origin(nullptr);
  if (!Walk(shape, first.raw_view(), second.raw_view()).first_fits()) first = stretched(context_, first, shape);
  if (!Walk(shape, first.raw_view(), second.raw_view()).second_fits()) second = stretched(context_, second, shape);
  const Walk walk(shape, first.raw_view(), second.raw_view());
  const Tensor pick = mask.shape() == shape ? mask.dense(context_.threads) : mask.broadcast(shape).dense(context_.threads),
               out(DType::f32, shape);
  if (shape.count() == 0) return out;
  const std::int64_t s = walk.a[walk.last()], t = walk.b[walk.last()];
  const auto choose = kernel::elements_of(context_.isa).choose;
  const auto *x = first.raw<float>(), *y = second.raw<float>();
  walk.run(context_.threads,
           [=, chosen = pick.raw<std::uint8_t>(), to = out.raw<float>()](std::int64_t at, std::int64_t i, std::int64_t j, std::int64_t n) {
             choose(chosen + at, x + i, s, y + j, t, n, to + at);
           });
  return record("where", out, {&a, &b}, [mask, s = a.shape(), t = b.shape()](const Pull& p) -> std::vector<Tensor> {
    const Tensor none = p.ops.full({}, 0);
    return {p.wants(0) ? p.ops.sum_to(p.ops.where(mask, p.gradient(), none), s) : Tensor(),
            p.wants(1) ? p.ops.sum_to(p.ops.where(mask, none, p.gradient()), t) : Tensor()};
  });
}

Tensor Ops::less(const Tensor& a, const Tensor& b) const {
  return zip<std::uint8_t>(context_, a, b, kernel::elements_of(context_.isa).less, DType::boolean);
}
Tensor Ops::equal(const Tensor& a, const Tensor& b) const {
  return zip<std::uint8_t>(context_, a, b, kernel::elements_of(context_.isa).equal, DType::boolean);
}

namespace {
/// value(a, b) of two masks, eight at a time; shapes broadcast.
template <class F>
Tensor combine(int threads, const Tensor& a, const Tensor& b, F&& value) {
  need(a, DType::boolean, "a");
  need(b, DType::boolean, "b");
  const Shape shape = joint(a.shape(), b.shape(), "b");
  const Tensor left = a.broadcast(shape).dense(threads), right = b.broadcast(shape).dense(threads);
  Tensor out(DType::boolean, shape);
  pieces(threads, shape.count(), 131072, [&](std::int64_t begin, std::int64_t end) {
    const auto *x = left.raw<std::uint8_t>(), *y = right.raw<std::uint8_t>();
    auto* to = out.raw<std::uint8_t>();
    std::uint64_t p = 0, q = 0;
    for (std::int64_t i = begin; i < end; i += 8) {
      const auto n = std::size_t(std::min<std::int64_t>(8, end - i));
      std::memcpy(&p, x + i, n), std::memcpy(&q, y + i, n);
      p = value(p, q);
      std::memcpy(to + i, &p, n);
    }
  });
  return out;
}
}  // namespace

Tensor Ops::both(const Tensor& a, const Tensor& b) const {
  return combine(context_.threads, a, b, [](std::uint64_t x, std::uint64_t y) { return x & y; });
}
Tensor Ops::either(const Tensor& a, const Tensor& b) const {
  return combine(context_.threads, a, b, [](std::uint64_t x, std::uint64_t y) { return x | y; });
}
Tensor Ops::negate(const Tensor& mask) const {
  return combine(context_.threads, mask, mask, [](std::uint64_t x, std::uint64_t) { return x ^ 0x0101010101010101u; });
}

namespace {
/// loop(x, number).
Tensor with_number(const Context& context, const Tensor& x, float number, kernel::ElementTable::Zip loop) {
  return map(
      context, x, [=](const float* from, std::int64_t n, float* to) { loop(from, 1, &number, 0, n, to); }, light);
}
/// A loop with parameters.
Tensor curved(const Context& context, const Tensor& x, kernel::ElementTable::Curve loop, float a, float b = 0, std::int64_t unit = heavy) {
  return map(
      context, x, [=](const float* from, std::int64_t n, float* to) { loop(from, n, a, b, to); }, unit);
}
}  // namespace

Tensor Ops::scale(const Tensor& x, float factor) const {
  return record("scale", with_number(context_, x, factor, kernel::elements_of(context_.isa).mul), {&x},
                [=](const Pull& p) -> std::vector<Tensor> { return {p.ops.scale(p.gradient(), factor)}; });
}
Tensor Ops::shift(const Tensor& x, float offset) const {
  return record("shift", with_number(context_, x, offset, kernel::elements_of(context_.isa).add), {&x},
                [](const Pull& p) -> std::vector<Tensor> { return {p.gradient()}; });
}
Tensor Ops::neg(const Tensor& x) const { return scale(x, -1); }

// y = f(x): the derivative is slope(ops, x, y) times the gradient.
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
HEED_MAP(log, HEED_LOOP(log), o.div(one, x))
HEED_MAP(log1p, HEED_LOOP(log1p), o.div(one, o.shift(x, 1)))
HEED_MAP(sigmoid, HEED_LOOP(sigmoid), o.mul(y, o.sub(one, y)))
HEED_MAP(tanh, HEED_LOOP(tanh), o.sub(one, o.square(y)))
HEED_MAP(silu, HEED_LOOP(silu), o.mul(o.sigmoid(x), o.add(one, o.sub(x, y))))
HEED_MAP(softplus, HEED_LOOP(softplus), o.sigmoid(x))
HEED_MAP(sqrt, HEED_LOOP(sqrt), o.div(o.full({}, 0.5f), y))
HEED_MAP(rsqrt, HEED_LOOP(rsqrt), o.scale(o.div(y, x), -0.5f))
HEED_MAP(square, zip<float>(context_, x, x, kernel::elements_of(context_.isa).mul), o.scale(x, 2))
HEED_MAP(abs, map(context_, x, kernel::elements_of(context_.isa).abs, light), o.sign(x))
HEED_MAP(sin, HEED_LOOP(sin), o.cos(x))
HEED_MAP(cos, HEED_LOOP(cos), o.neg(o.sin(x)))
HEED_MAP(erf, HEED_LOOP(erf), o.scale(o.exp(o.neg(o.square(x))), 1.1283791671f))
#undef HEED_MAP
#undef HEED_LOOP

Tensor Ops::sign(const Tensor& x) const {
  return record("sign", map(context_, x, kernel::elements_of(context_.isa).sign, light), {&x},
                [s = x.shape()](const Pull& p) -> std::vector<Tensor> { return {p.ops.full(s, 0)}; });
}
Tensor Ops::relu(const Tensor& x) const { return leaky_relu(x, 0); }
Tensor Ops::leaky_relu(const Tensor& x, float slope) const {
  const auto& loops = kernel::elements_of(context_.isa);
  const Tensor out = slope == 0 ? with_number(context_, x, 0, loops.max) : curved(context_, x, loops.leaky, slope, 0, light);
  return record("leaky_relu", out, {&x}, [x, slope](const Pull& p) -> std::vector<Tensor> {
    const Tensor above = p.ops.less(p.ops.full({}, 0), x);
    return {p.ops.where(above, p.gradient(), p.ops.scale(p.gradient(), slope))};
  });
}
Tensor Ops::elu(const Tensor& x, float alpha) const {
  return record("elu", curved(context_, x, kernel::elements_of(context_.isa).elu, alpha), {&x},
                [x, alpha](const Pull& p) -> std::vector<Tensor> {
                  const Tensor none = p.ops.full({}, 0), below = p.ops.scale(p.ops.exp(p.ops.minimum(x, none)), alpha);
                  return {p.ops.where(p.ops.less(none, x), p.gradient(), p.ops.mul(p.gradient(), below))};
                });
}
Tensor Ops::clamp(const Tensor& x, float least, float most) const {
  if (!(least <= most)) fail("least", "at most " + std::to_string(most), std::to_string(least));
  return record("clamp", curved(context_, x, kernel::elements_of(context_.isa).clamp, least, most, light), {&x},
                [x, least, most](const Pull& p) -> std::vector<Tensor> {
                  const Tensor outside = p.ops.either(p.ops.less(x, p.ops.full({}, least)), p.ops.less(p.ops.full({}, most), x));
                  return {p.ops.where(outside, p.ops.full({}, 0), p.gradient())};
                });
}
Tensor Ops::pow(const Tensor& x, float exponent) const {
  const auto& loops = kernel::elements_of(context_.isa);
  const auto power = [&] {
    if (exponent == 1) return x.with_origin(nullptr).dense(context_.threads);
    if (exponent == 2) return zip<float>(context_, x, x, loops.mul);
    if (exponent == 3) return map(context_, x, loops.cube, light);
    if (exponent == 0.5f) return map(context_, x, loops.sqrt);
    if (exponent == -0.5f) return map(context_, x, loops.rsqrt);
    return curved(context_, x, loops.power, exponent);
  };
  need(x, DType::f32, "x");
  return record("pow", power(), {&x}, [x, exponent](const Pull& p) -> std::vector<Tensor> {
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
