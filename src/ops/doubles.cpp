// SPDX-License-Identifier: Apache-2.0
#include "ops/doubles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel/doubles.h"

namespace heed::ops {
namespace {

constexpr std::int64_t panel = kernel::doubles_panel, strip = kernel::doubles_rows;

Shape with_tail(const Shape& lead, std::int64_t rows, std::int64_t columns) {
  auto extents = lead.vector();
  extents.insert(extents.end(), {rows, columns});
  return Shape(extents);
}

Shape lead_of(const Doubles& x) {
  auto extents = x.shape().vector();
  extents.resize(extents.size() - 2);
  return Shape(extents);
}

/// The first element of matrix `job` of those that the leading axes count.
const double* matrix(const Doubles& x, const Shape& lead, std::int64_t job) {
  const double* at = x.data();
  for (int i = lead.rank() - 1; i >= 0; job /= lead[i--]) at += job % lead[i] * x.stride(i);
  return at;
}

Doubles inverse_deviation(const DoubleOps& ops, const Doubles& centred, double epsilon) {
  return ops.map(ops.mean(ops.mul(centred, centred)), [=](double square) { return 1 / std::sqrt(square + epsilon); });
}

}  // namespace

Doubles::Doubles(const Tensor& x) {
  if (!x.defined()) return;
  need(x, DType::f32, "x");
  const Tensor from = x.dense();
  bits_ = Tensor(DType::i64, x.shape());
  std::copy_n(from.data<float>(), x.count(), data());
}

Tensor Doubles::narrow() const {
  const Doubles from = dense();
  const Tensor out(DType::f32, shape());
  std::transform(from.data(), from.data() + count(), out.data<float>(), [](double v) { return float(v); });
  return out;
}

Doubles DoubleOps::matmul(const Doubles& a, const Doubles& b) const {
  if (a.shape().rank() < 2) fail("a", "rank 2 or more", a.shape().text());
  if (b.shape().rank() < 2) fail("b", "rank 2 or more", b.shape().text());
  const std::int64_t m = a.extent(-2), k = a.extent(-1), n = b.extent(-1), panels = (n + panel - 1) / panel;
  if (b.extent(-2) != k) fail("b", "[..., " + std::to_string(k) + ", n]", b.shape().text());
  const Shape lead = joint(lead_of(a), lead_of(b), "b");
  const Doubles left = a.broadcast(with_tail(lead, m, k)), right = b.broadcast(with_tail(lead, k, n)), out(with_tail(lead, m, n));
  const auto product = kernel::doubles_of(context_.isa).product;
  const std::int64_t row = left.stride(-2), column = left.stride(-1), down = right.stride(-2), along = right.stride(-1);
  pieces(context_.threads, lead.count() * panels, 16384 / std::max<std::int64_t>(1, m * k * panel),
         [&](std::int64_t begin, std::int64_t end) {
           std::vector<double> packed(std::size_t(k * panel));  // zeros beyond the last column
           double sums[strip * panel];
           for (std::int64_t task = begin; task < end; ++task) {
             const std::int64_t job = task / panels, at = task % panels * panel, wide = std::min(panel, n - at);
             const double *x = matrix(left, lead, job), *w = matrix(right, lead, job) + at * along;
             if (wide < panel) std::fill(packed.begin(), packed.end(), 0.0);
             for (std::int64_t p = 0; p < k; ++p)
               for (std::int64_t c = 0; c < wide; ++c) packed[std::size_t(p * panel + c)] = w[p * down + c * along];
             for (std::int64_t r = 0; r < m; r += strip) {
               const std::int64_t here = std::min(strip, m - r);
               product(x + r * row, row, column, int(here), packed.data(), k, sums);
               for (std::int64_t i = 0; i < here; ++i) std::copy_n(sums + i * panel, wide, out.data() + (job * m + r + i) * n + at);
             }
           }
         });
  return out;
}

Doubles DoubleOps::linear(const Doubles& x, const Doubles& weight, const Doubles& bias) const {
  if (weight.shape().rank() != 2) fail("weight", "[out, in]", weight.shape().text());
  auto extents = x.shape().vector();
  const std::int64_t in = extents.back();
  extents.back() = weight.extent(0);
  const Doubles out = matmul(x.reshape({x.count() / std::max<std::int64_t>(1, in), in}), weight.transpose(0, 1)).reshape(Shape(extents));
  return bias.defined() ? add(out, bias) : out;
}

template <class F>
Doubles DoubleOps::rows(const Doubles& x, std::int64_t wide, F&& row) const {
  const std::int64_t n = x.extent(-1);
  auto extents = x.shape().vector();
  extents.back() = wide;
  const Doubles from = x.dense(), out{Shape(extents)};
  pieces(context_.threads, Shape(with_axis(x.shape(), x.shape().rank() - 1, 1)).count(), 4096 / std::max<std::int64_t>(1, n),
         [&](std::int64_t begin, std::int64_t end) {
           for (std::int64_t i = begin; i < end; ++i) row(from.data() + i * n, out.data() + i * wide, n);
         });
  return out;
}

Doubles DoubleOps::sum(const Doubles& x) const {
  return rows(x, 1, [](const double* from, double* to, std::int64_t n) {
    *to = 0;
    for (std::int64_t i = 0; i < n; ++i) *to += from[i];
  });
}

Doubles DoubleOps::mean(const Doubles& x) const { return scale(sum(x), 1 / double(x.extent(-1))); }

Doubles DoubleOps::softmax(const Doubles& x, int axis) const {
  const Doubles lanes = x.transpose(axis, -1);
  return rows(lanes, lanes.extent(-1),
              [](const double* from, double* to, std::int64_t n) {
                double top = -std::numeric_limits<double>::infinity(), total = 0;
                for (std::int64_t i = 0; i < n; ++i) top = std::max(top, from[i]);
                for (std::int64_t i = 0; i < n; ++i) total += to[i] = std::isinf(top) && top < 0 ? 0 : std::exp(from[i] - top);
                for (std::int64_t i = 0; i < n && total != 0; ++i) to[i] /= total;
              })
      .transpose(axis, -1);
}

Doubles DoubleOps::layer_norm(const Doubles& x, const Doubles& weight, const Doubles& bias, double epsilon) const {
  const Doubles centred = sub(x, mean(x));
  return add(mul(mul(centred, inverse_deviation(*this, centred, epsilon)), weight), bias);
}

Doubles DoubleOps::gelu(const Doubles& x) const {
  return map(x, [](double v) { return 0.5 * v * (1 + std::erf(v * 0.70710678118654752440)); });
}

Doubles DoubleOps::gelu_back(const Doubles& x, const Doubles& g) const {
  return zip(x, g, [](double v, double slope) {
    constexpr double half_root = 0.70710678118654752440, density = 0.39894228040143267794;
    return slope * (0.5 * (1 + std::erf(v * half_root)) + v * density * std::exp(-0.5 * v * v));
  });
}

Doubles DoubleOps::layer_norm_back(const Doubles& x, const Doubles& weight, double epsilon, const Doubles& g) const {
  // With y = (x - mean) f and h = g weight: f (h - mean(h) - y mean(h y)).
  const Doubles centred = sub(x, mean(x)), factor = inverse_deviation(*this, centred, epsilon), y = mul(centred, factor),
                h = mul(g, weight);
  return mul(factor, sub(sub(h, mean(h)), mul(y, mean(mul(h, y)))));
}

Doubles DoubleOps::concat(const std::vector<Doubles>& list, int axis) const {
  std::vector<Tensor> bits;
  for (const Doubles& x : list) bits.push_back(x.bits_);
  return Doubles::of(Ops(context_, false).concat(bits, axis));
}

Doubles DoubleOps::where(const Tensor& mask, const Doubles& a, const Doubles& b) const {
  need(mask, DType::boolean, "mask");
  const Shape shape = joint(joint(a.shape(), b.shape(), "b"), mask.shape(), "mask");
  const Doubles left = a.broadcast(shape).dense(), right = b.broadcast(shape).dense(), out(shape);
  const Tensor pick = mask.broadcast(shape).dense();
  for (std::int64_t i = 0; i < out.count(); ++i) out.data()[i] = pick.data<std::uint8_t>()[i] ? left.data()[i] : right.data()[i];
  return out;
}

Doubles DoubleOps::number(double x) const {
  const Doubles out{Shape{}};
  *out.data() = x;
  return out;
}

}  // namespace heed::ops
