// SPDX-License-Identifier: Apache-2.0
// Fourier and cosine transforms of any length in O(n log n), 16 lanes abreast: real ones as half as many complex numbers.
#include <cmath>
#include <cstring>
#include <vector>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "kernel/product.h"
#include "kernel/table.h"
#include "ops/fourier.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr double pi = 3.14159265358979323846;
constexpr std::int64_t lanes16 = kernel::fourier_lanes, number = 2 * lanes16;

/// Where 16 lanes lie: word c of element e of lane l at l * lane + e * step + c, c < parts.
struct Side {
  std::int64_t lane, step;
  int parts;
};

/// to[e][c][l] from `count` lanes; the others are 0.
void load(const kernel::Table& loops, const float* from, const Side& side, std::int64_t count, std::int64_t n, float* to) {
  const std::int64_t words = n * side.parts;
  if (count < lanes16) std::memset(to, 0, std::size_t(words * lanes16) * sizeof(float));
  if (side.step == side.parts && count == lanes16) return loops.transpose(from, side.lane, words, to);
  if (side.lane == 1) {
    for (std::int64_t e = 0; e < n; ++e) std::memcpy(to + e * lanes16, from + e * side.step, std::size_t(count) * sizeof(float));
    return;
  }
  for (std::int64_t e = 0; e < n; ++e)
    for (std::int64_t l = 0; l < count; ++l)
      for (int c = 0; c < side.parts; ++c) to[(e * side.parts + c) * lanes16 + l] = from[l * side.lane + e * side.step + c];
}
/// The reverse.
void store(const kernel::Table& loops, const float* from, const Side& side, std::int64_t count, std::int64_t n, float* to) {
  const std::int64_t words = n * side.parts;
  if (side.step == side.parts) {
    std::int64_t w = 0;
    for (; w + lanes16 <= words; w += lanes16) loops.turn(from + w * lanes16, lanes16, count, to + w, side.lane);
    for (; w < words; ++w)
      for (std::int64_t l = 0; l < count; ++l) to[l * side.lane + w] = from[w * lanes16 + l];
    return;
  }
  if (side.lane == 1) {
    for (std::int64_t e = 0; e < n; ++e) std::memcpy(to + e * side.step, from + e * lanes16, std::size_t(count) * sizeof(float));
    return;
  }
  for (std::int64_t e = 0; e < n; ++e)
    for (std::int64_t l = 0; l < count; ++l)
      for (int c = 0; c < side.parts; ++c) to[l * side.lane + e * side.step + c] = from[(e * side.parts + c) * lanes16 + l];
}

/// change(a, b) of 16 lanes at a time, a being loaded, b spare; it gives the place of the result. [outer, in, inner, parts] -> [outer, out,
/// inner, parts]; a and b have `room` numbers.
template <class F>
void each_lanes(const Context& context, const float* x, float* y, std::int64_t outer, std::int64_t inner, std::int64_t in, int in_parts,
                std::int64_t out, int out_parts, std::int64_t room, F&& change) {
  const auto& loops = kernel::table_of(context.isa);
  const bool rows = inner == 1;
  const std::int64_t all = rows ? outer : inner, blocks = (all + lanes16 - 1) / lanes16, jobs = rows ? blocks : outer * blocks;
  const Side from = rows ? Side{in * in_parts, in_parts, in_parts} : Side{in_parts, inner * in_parts, in_parts};
  const Side to = rows ? Side{out * out_parts, out_parts, out_parts} : Side{out_parts, inner * out_parts, out_parts};
  pieces(context.threads, jobs, 2048 / std::max<std::int64_t>(1, in * lanes16), [&](std::int64_t begin, std::int64_t end) {
    float* a = product::scratch(2 * room * number);
    for (std::int64_t job = begin; job < end; ++job) {
      const std::int64_t first = job % blocks * lanes16, count = std::min(lanes16, all - first), o = rows ? 0 : job / blocks;
      load(loops, x + o * in * inner * in_parts + first * from.lane, from, count, in, a);
      store(loops, change(a, a + room * number), to, count, out, y + o * out * inner * out_parts + first * to.lane);
    }
  });
}

void scaled(const Context& context, float* x, std::int64_t numbers, double factor) {
  const auto by = float(factor);
  kernel::elements_of(context.isa).mul(x, 1, &by, 0, numbers * number, x);
}

/// 16 transforms of n real numbers, rows of 16, to n/2 + 1 numbers, and back.
class Real {
 public:
  Real(const Context& context, std::int64_t n, bool inverse)
      : context_(context), loops_(kernel::fourier_of(context.isa)), n_(n), plan_(Transform::of(n % 2 ? n : n / 2, inverse)) {}
  std::int64_t room() const { return std::max(plan_->room(), n_ / 2 + 1); }

  float* forward(float* a, float* b) const {
    if (n_ % 2 == 0) {
      float* z = plan_->run(loops_, a, b);
      float* x = z == a ? b : a;
      loops_.part(z, n_ / 2, plan_->halves().data(), x);
      return x;
    }
    for (std::int64_t t = 0; t < n_; ++t) {
      std::memcpy(b + t * number, a + t * lanes16, lanes16 * sizeof(float));
      std::memset(b + t * number + lanes16, 0, lanes16 * sizeof(float));
    }
    return plan_->run(loops_, b, a);
  }
  float* backward(float* a, float* b) const {
    if (n_ % 2 == 0) {
      // The plan is the inverse one; join() takes the turns of the transform itself.
      loops_.join(a, n_ / 2, Transform::of(n_ / 2, false)->halves().data(), b);
      float* z = plan_->run(loops_, b, a);
      scaled(context_, z, n_ / 2, 2 / double(n_));
      return z;
    }
    for (std::int64_t k = 1; k <= n_ / 2; ++k) {
      std::memcpy(a + (n_ - k) * number, a + k * number, lanes16 * sizeof(float));
      for (std::int64_t l = lanes16; l < number; ++l) a[(n_ - k) * number + l] = -a[k * number + l];
    }
    std::memset(a + lanes16, 0, lanes16 * sizeof(float));
    float* z = plan_->run(loops_, a, b);
    scaled(context_, z, n_, 1 / double(n_));
    for (std::int64_t t = 0; t < n_; ++t) std::memmove(z + t * lanes16, z + t * number, lanes16 * sizeof(float));
    return z;
  }

 private:
  const Context& context_;
  const kernel::FourierTable& loops_;
  std::int64_t n_;
  std::shared_ptr<const Transform> plan_;
};

/// x[..., 2] and another axis.
int complex_axis(const Tensor& x, int axis) {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (x.extent(-1) != 2 || axis == x.rank() - 1)
    fail("x", "[..., 2] and another axis", x.shape().text() + ", axis " + std::to_string(axis));
  return axis;
}

/// `inside`, with 1 at both ends of n/2 + 1 places where their element stands for itself alone, and extents 1 around the axis and the pair.
Tensor weights(std::int64_t n, int axis, int rank, float inside) {
  std::vector<std::int64_t> extents(std::size_t(rank), 1);
  extents[std::size_t(axis)] = n / 2 + 1;
  const Tensor out(DType::f32, Shape(extents));
  std::fill_n(out.raw<float>(), out.count(), inside);
  out.raw<float>()[0] = 1;
  if (n % 2 == 0) out.raw<float>()[n / 2] = 1;
  return out;
}

}  // namespace

Tensor Ops::fft(const Tensor& x, int axis, bool inverse) const {
  axis = complex_axis(x, axis);
  const Tensor from = x.with_origin(nullptr).dense(context_.threads);
  Tensor out(DType::f32, x.shape());
  const std::int64_t n = x.extent(axis);
  if (out.count() != 0) {
    const Lanes cut = lanes(x.shape(), axis);
    const auto plan = Transform::of(n, inverse);
    const auto& loops = kernel::fourier_of(context_.isa);
    each_lanes(context_, from.raw<float>(), out.raw<float>(), cut.outer, cut.inner / 2, n, 2, n, 2, plan->room(), [&](float* a, float* b) {
      float* y = plan->run(loops, a, b);
      if (inverse) scaled(context_, y, n, 1 / double(n));
      return y;
    });
  }
  return record("fft", out, {&x}, [axis, inverse, n](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.scale(p.ops.fft(p.gradient(), axis, !inverse), inverse ? float(1 / double(n)) : float(n))};
  });
}

Tensor Ops::rfft(const Tensor& x, int axis) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis);
  auto extents = x.shape().vector();
  extents[std::size_t(axis)] = n == 0 ? 0 : n / 2 + 1;
  extents.push_back(2);
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, Shape(extents));
  if (x.count() != 0) {
    const Lanes cut = lanes(x.shape(), axis);
    const Real plan(context_, n, false);
    each_lanes(context_, from.raw<float>(), out.raw<float>(), cut.outer, cut.inner, n, 1, n / 2 + 1, 2, plan.room(),
               [&](float* a, float* b) { return plan.forward(a, b); });
  }
  return record("rfft", out, {&x}, [axis, n](const Pull& p) -> std::vector<Tensor> {
    const Tensor g = p.ops.mul(p.gradient(), weights(n, axis, p.gradient().rank(), 0.5f));
    return {p.ops.scale(p.ops.irfft(g, axis, n), float(n))};
  });
}

Tensor Ops::irfft(const Tensor& x, int axis, std::int64_t n) const {
  axis = complex_axis(x, axis);
  if (n < 1 || x.extent(axis) != n / 2 + 1) fail("n", "1 or more with n/2 + 1 = " + std::to_string(x.extent(axis)), std::to_string(n));
  auto extents = x.shape().vector();
  extents[std::size_t(axis)] = n;
  extents.pop_back();
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, Shape(extents));
  if (out.count() != 0) {
    const Lanes cut = lanes(out.shape(), axis);
    const Real plan(context_, n, true);
    each_lanes(context_, from.raw<float>(), out.raw<float>(), cut.outer, cut.inner, n / 2 + 1, 2, n, 1, plan.room(),
               [&](float* a, float* b) { return plan.backward(a, b); });
  }
  return record("irfft", out, {&x}, [axis, n](const Pull& p) -> std::vector<Tensor> {
    const Tensor g = p.ops.rfft(p.gradient(), axis);
    return {p.ops.scale(p.ops.mul(g, weights(n, axis, g.rank(), 2)), float(1 / double(n)))};
  });
}

Tensor Ops::complex_mul(const Tensor& a, const Tensor& b, bool conjugate_a) const {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  if (a.rank() < 1 || a.extent(-1) != 2) fail("a", "[..., 2]", a.shape().text());
  if (b.rank() < 1 || b.extent(-1) != 2) fail("b", "[..., 2]", b.shape().text());
  const auto part = [](const Tensor& x, std::int64_t which) { return x.slice(x.rank() - 1, which, 1); };
  const Tensor p = mul(part(a, 0), b), q = mul(part(a, 1), b);  // (ar br, ar bi), (ai br, ai bi)
  const Tensor re = conjugate_a ? add(part(p, 0), part(q, 1)) : sub(part(p, 0), part(q, 1));
  const Tensor im = conjugate_a ? sub(part(p, 1), part(q, 0)) : add(part(p, 1), part(q, 0));
  return concat({re, im}, -1);
}

namespace {

/// What makes the type II orthonormal.
double unit(std::int64_t k, std::int64_t n) { return std::sqrt((k == 0 ? 1.0 : 2.0) / double(n)) / 2; }

/// unit(k) to a power, with extents 1 around the axis.
Tensor units(std::int64_t n, int axis, int rank, bool inverse) {
  std::vector<std::int64_t> extents(std::size_t(rank), 1);
  extents[std::size_t(axis)] = n;
  const Tensor out(DType::f32, Shape(extents));
  for (std::int64_t k = 0; k < n; ++k) out.raw<float>()[k] = float(inverse ? 1 / unit(k, n) : unit(k, n));
  return out;
}

/// size(k) exp(i pi k / 2n).
template <class F>
std::vector<float> quarter_turns(std::int64_t n, F&& size) {
  std::vector<float> pairs;
  for (std::int64_t k = 0; k < n; ++k) {
    const double angle = pi * double(k) / double(2 * n);
    pairs.push_back(float(size(k) * std::cos(angle))), pairs.push_back(float(size(k) * std::sin(angle)));
  }
  return pairs;
}

/// The place of x_t in v = x_0, x_2, ..., x_3, x_1.
std::int64_t place_of(std::int64_t t, std::int64_t n) { return t % 2 ? n - 1 - t / 2 : t / 2; }

}  // namespace

// Makhoul (1980): the transform is 2 Re(exp(-i pi k / 2n) V_k), V being that of v, whose upper half are conjugates.
Tensor Ops::dct(const Tensor& x, int axis, bool orthonormal) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis);
  if (x.count() == 0) return x;
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, x.shape());
  const Lanes cut = lanes(x.shape(), axis);
  const Real plan(context_, n, false);
  const auto turns = quarter_turns(n, [&](std::int64_t k) { return 2 * (orthonormal ? unit(k, n) : 1); });
  each_lanes(context_, from.raw<float>(), out.raw<float>(), cut.outer, cut.inner, n, 1, n, 1, plan.room(), [&](float* a, float* b) {
    for (std::int64_t t = 0; t < n; ++t) std::memcpy(b + place_of(t, n) * lanes16, a + t * lanes16, lanes16 * sizeof(float));
    const float* v = plan.forward(b, a);
    float* y = v == a ? b : a;
    for (std::int64_t k = 0; k < n; ++k) {
      const float* at = v + std::min(k, n - k) * number;
      const float re = turns[std::size_t(2 * k)], im = k <= n / 2 ? turns[std::size_t(2 * k + 1)] : -turns[std::size_t(2 * k + 1)];
      for (int l = 0; l < lanes16; ++l) y[k * lanes16 + l] = at[l] * re + at[lanes16 + l] * im;
    }
    return y;
  });
  return record("dct", out, {&x}, [axis, n, orthonormal](const Pull& p) -> std::vector<Tensor> {
    const Tensor& g = p.gradient();
    return {p.ops.idct(orthonormal ? g : p.ops.mul(g, units(n, axis, g.rank(), true)), axis)};
  });
}

// V_k = exp(i pi k / 2n) (h_k - i h_{n-k}), h being x without its scale, h_n = 0.
Tensor Ops::idct(const Tensor& x, int axis, bool orthonormal) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis);
  if (x.count() == 0) return x;
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, x.shape());
  const Lanes cut = lanes(x.shape(), axis);
  const Real plan(context_, n, true);
  const auto turns = quarter_turns(n, [](std::int64_t) { return 1.0; });
  const auto factor = [&](std::int64_t k) { return float(1 / (orthonormal ? 2 * unit(k, n) : 2)); };
  each_lanes(context_, from.raw<float>(), out.raw<float>(), cut.outer, cut.inner, n, 1, n, 1, plan.room(), [&](float* a, float* b) {
    for (std::int64_t k = 0; k <= n / 2; ++k) {
      const float re = turns[std::size_t(2 * k)], im = turns[std::size_t(2 * k + 1)], p = factor(k), q = k == 0 ? 0 : -factor(n - k);
      const float *x_k = a + k * lanes16, *other = a + (k == 0 ? 0 : n - k) * lanes16;
      for (int l = 0; l < lanes16; ++l) {
        const float r = p * x_k[l], i = q * other[l];
        b[k * number + l] = r * re - i * im, b[k * number + lanes16 + l] = r * im + i * re;
      }
    }
    const float* v = plan.backward(b, a);
    float* y = v == a ? b : a;
    for (std::int64_t t = 0; t < n; ++t) std::memcpy(y + t * lanes16, v + place_of(t, n) * lanes16, lanes16 * sizeof(float));
    return y;
  });
  return record("idct", out, {&x}, [axis, n, orthonormal](const Pull& p) -> std::vector<Tensor> {
    const Tensor g = p.ops.dct(p.gradient(), axis);
    return {orthonormal ? g : p.ops.mul(g, units(n, axis, g.rank(), false))};
  });
}

}  // namespace v0
}  // namespace heed
