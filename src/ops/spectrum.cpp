// SPDX-License-Identifier: Apache-2.0
// Fourier and cosine transforms of any length in O(n log n): powers of two by halves (Cooley and Tukey, 1965), other lengths as a
// convolution with a chirp (Bluestein, 1970). Sums are in f64.
#include <cmath>
#include <vector>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr double pi = 3.14159265358979323846;

struct Number {
  double re, im;
  Number operator*(Number b) const { return {re * b.re - im * b.im, re * b.im + im * b.re}; }
  Number operator+(Number b) const { return {re + b.re, im + b.im}; }
  Number operator-(Number b) const { return {re - b.re, im - b.im}; }
  Number conjugate() const { return {re, -im}; }
};

Number turn(double angle) { return {std::cos(angle), std::sin(angle)}; }

/// The transform of a power of two, in place.
class Halves {
 public:
  explicit Halves(std::size_t n) : turns_(n / 2), place_(n) {
    for (std::size_t k = 0; k < n / 2; ++k) turns_[k] = turn(-2 * pi * double(k) / double(n));
    for (std::size_t i = 1; i < n; ++i) place_[i] = place_[i / 2] / 2 + (i % 2 ? n / 2 : 0);
  }
  void run(std::vector<Number>& x) const {
    const std::size_t n = place_.size();
    for (std::size_t i = 0; i < n; ++i)
      if (i < place_[i]) std::swap(x[i], x[place_[i]]);
    for (std::size_t half = 1; half < n; half *= 2)
      for (std::size_t begin = 0; begin < n; begin += 2 * half)
        for (std::size_t k = 0; k < half; ++k) {
          Number &a = x[begin + k], &b = x[begin + k + half];
          const Number t = b * turns_[k * (n / (2 * half))];
          b = a - t;
          a = a + t;
        }
  }

 private:
  std::vector<Number> turns_;
  std::vector<std::size_t> place_;
};

std::size_t power_of_two(std::size_t least) {
  std::size_t n = 1;
  while (n < least) n *= 2;
  return n;
}

/// The transform of any n: k t = (k^2 + t^2 - (k - t)^2) / 2 makes it a convolution with the chirp exp(i pi t^2 / n).
class Transform {
 public:
  explicit Transform(std::size_t n) : n_(n), halves_(power_of_two(n) == n ? n : power_of_two(2 * n - 1)) {
    if (power_of_two(n) == n) return;
    const std::size_t m = power_of_two(2 * n - 1);
    chirp_.resize(n);
    filter_.assign(m, {0, 0});
    for (std::size_t t = 0; t < n; ++t) {
      chirp_[t] = turn(-pi * double(t * t % (2 * n)) / double(n));
      filter_[t] = chirp_[t].conjugate();
      if (t != 0) filter_[m - t] = filter_[t];
    }
    halves_.run(filter_);
  }

  /// x[0, n) in place; x has room() numbers.
  std::size_t room() const { return chirp_.empty() ? n_ : filter_.size(); }
  void run(std::vector<Number>& x) const {
    if (chirp_.empty()) return halves_.run(x);
    const std::size_t m = filter_.size();
    for (std::size_t t = 0; t < m; ++t) x[t] = t < n_ ? x[t] * chirp_[t] : Number{0, 0};
    halves_.run(x);
    for (std::size_t t = 0; t < m; ++t) x[t] = (x[t] * filter_[t]).conjugate();
    halves_.run(x);
    for (std::size_t t = 0; t < n_; ++t) x[t] = x[t].conjugate() * chirp_[t] * Number{1 / double(m), 0};
  }

 private:
  std::size_t n_;
  Halves halves_;
  std::vector<Number> chirp_, filter_;
};

}  // namespace

Tensor Ops::fft(const Tensor& x, int axis, bool inverse) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (x.extent(-1) != 2 || axis == x.rank() - 1)
    fail("x", "[..., 2] and another axis", x.shape().text() + ", axis " + std::to_string(axis));
  const Tensor from = x.dense();
  Tensor out(DType::f32, x.shape());
  const std::int64_t n = x.extent(axis);
  if (out.count() != 0) {
    const Lanes cut = lanes(x.shape(), axis);
    const Transform transform{std::size_t(n)};
    const std::int64_t inner = cut.inner / 2;
    const double sign = inverse ? -1 : 1, factor = inverse ? 1 / double(n) : 1;
    pieces(context_.threads, cut.outer * inner, 4096 / n, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Number> work(transform.room());
      for (std::int64_t lane = begin; lane < end; ++lane) {
        const std::int64_t first = lane / inner * n * cut.inner + lane % inner * 2;
        for (std::int64_t t = 0; t < n; ++t) {
          const float* at = from.raw<float>() + first + t * cut.inner;
          work[std::size_t(t)] = {at[0], sign * at[1]};
        }
        transform.run(work);
        for (std::int64_t k = 0; k < n; ++k) {
          float* to = out.raw<float>() + first + k * cut.inner;
          to[0] = float(work[std::size_t(k)].re * factor);
          to[1] = float(work[std::size_t(k)].im * sign * factor);
        }
      }
    });
  }
  return record("fft", out, {&x}, [axis, inverse, n](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.scale(p.ops.fft(p.gradient(), axis, !inverse), inverse ? float(1 / double(n)) : float(n))};
  });
}

Tensor Ops::rfft(const Tensor& x, int axis) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  auto extents = x.shape().vector();
  extents.push_back(1);
  const Tensor real = x.reshape(Shape(extents));
  return fft(pad(real, -1, 0, 1), axis).slice(axis, 0, x.extent(axis) / 2 + 1);
}

Tensor Ops::irfft(const Tensor& x, int axis, std::int64_t n) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (x.extent(-1) != 2 || axis == x.rank() - 1)
    fail("x", "[..., 2] and another axis", x.shape().text() + ", axis " + std::to_string(axis));
  if (n < 1 || x.extent(axis) != n / 2 + 1) fail("n", "1 or more with n/2 + 1 = " + std::to_string(x.extent(axis)), std::to_string(n));
  // Re sum_k y_k exp(2 pi i k t / n) is what the conjugates of the missing half give, so the ones that stand for two count twice.
  const Tensor twice = full({n / 2 + 1}, 2);
  twice.raw<float>()[0] = 1;
  if (n % 2 == 0) twice.raw<float>()[n / 2] = 1;
  std::vector<std::int64_t> extents(std::size_t(x.rank()), 1);
  extents[std::size_t(axis)] = n / 2 + 1;
  const Tensor half = mul(x, twice.reshape(Shape(extents)));
  const Tensor whole = fft(pad(half, axis, 0, n - n / 2 - 1), axis, true).slice(-1 + x.rank(), 0, 1);
  auto shape = whole.shape().vector();
  shape.pop_back();
  return whole.reshape(Shape(shape));
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

/// exp(sign i pi k / 2n) factor(k) for k < n, with extents 1 around `axis` and the pair.
template <class F>
Tensor quarter_turns(std::int64_t n, int axis, int rank, double sign, F&& factor) {
  std::vector<std::int64_t> extents(std::size_t(rank) + 1, 1);
  extents[std::size_t(axis)] = n;
  extents.back() = 2;
  Tensor out(DType::f32, Shape(extents));
  for (std::int64_t k = 0; k < n; ++k) {
    const double angle = sign * pi * double(k) / double(2 * n), size = factor(k);
    out.raw<float>()[2 * k] = float(size * std::cos(angle));
    out.raw<float>()[2 * k + 1] = float(size * std::sin(angle));
  }
  return out;
}

/// What makes the type II orthonormal.
double unit(std::int64_t k, std::int64_t n) { return std::sqrt((k == 0 ? 1.0 : 2.0) / double(n)) / 2; }

}  // namespace

// Makhoul (1980): with v = x_0, x_2, ..., x_3, x_1 the transform is 2 Re(exp(-i pi k / 2n) fft(v)_k).
Tensor Ops::dct(const Tensor& x, int axis, bool orthonormal) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis);
  if (n == 0) return x;
  auto extents = x.shape().vector();
  extents.push_back(1);
  const Tensor order = concat({arange(0, n, 2), arange(n - 1 - n % 2, 0, -2)}, 0);
  const Tensor v = pad(index_select(x, axis, order).reshape(Shape(extents)), -1, 0, 1);
  const Tensor turns = quarter_turns(n, axis, x.rank(), 1, [&](std::int64_t k) { return 2 * (orthonormal ? unit(k, n) : 1); });
  return sum(mul(fft(v, axis), turns), {-1});  // Re(conj(t) z) = t.re z.re + t.im z.im
}

Tensor Ops::idct(const Tensor& x, int axis, bool orthonormal) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const std::int64_t n = x.extent(axis);
  if (n == 0) return x;
  std::vector<std::int64_t> scales(std::size_t(x.rank()), 1);
  scales[std::size_t(axis)] = n;
  Tensor factor(DType::f32, Shape(scales));
  for (std::int64_t k = 0; k < n; ++k) factor.raw<float>()[k] = float(1 / (orthonormal ? 2 * unit(k, n) : 2));
  const Tensor half = mul(x, factor);  // fft(v)_k = exp(i pi k / 2n) (half_k - i half_{n-k}), half_n = 0
  const Tensor other = pad(flip(half.slice(axis, 1, n - 1), {axis}), axis, 1, 0);
  const Tensor pairs = stack({half, neg(other)}, -1);
  const Tensor v =
      fft(complex_mul(quarter_turns(n, axis, x.rank(), 1, [](std::int64_t) { return 1.0; }), pairs), axis, true).slice(x.rank(), 0, 1);
  Tensor place(DType::i64, {n});
  for (std::int64_t t = 0; t < n; ++t) place.raw<std::int64_t>()[t] = t % 2 ? n - 1 - t / 2 : t / 2;
  return index_select(v.reshape(x.shape()), axis, place);
}

}  // namespace v0
}  // namespace heed
