// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// Gauss and Jordan with partial pivots, in place: [a | b] of n rows and `wide` columns; the solution replaces b.
void eliminate(std::vector<double>& rows, std::int64_t n, std::int64_t wide) {
  const auto at = [&](std::int64_t i, std::int64_t j) -> double& { return rows[std::size_t(i * wide + j)]; };
  for (std::int64_t p = 0; p < n; ++p) {
    std::int64_t best = p;
    for (std::int64_t i = p + 1; i < n; ++i)
      if (std::abs(at(i, p)) > std::abs(at(best, p))) best = i;
    if (best != p)
      for (std::int64_t j = p; j < wide; ++j) std::swap(at(p, j), at(best, j));
    const double inverse = 1 / at(p, p);
    for (std::int64_t j = p; j < wide; ++j) at(p, j) *= inverse;
    for (std::int64_t i = 0; i < n; ++i) {
      const double factor = at(i, p);
      if (i == p || factor == 0) continue;
      for (std::int64_t j = p; j < wide; ++j) at(i, j) -= factor * at(p, j);
    }
  }
}

Shape lead_of(const Shape& shape) {
  auto extents = shape.vector();
  extents.resize(extents.size() - 2);
  return Shape(extents);
}

}  // namespace

Tensor Ops::solve(const Tensor& a, const Tensor& b) const {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  if (a.rank() < 2 || a.extent(-1) != a.extent(-2)) fail("a", "[..., n, n]", a.shape().text());
  const std::int64_t n = a.extent(-1);
  if (b.rank() < 2 || b.extent(-2) != n) fail("b", "[..., " + std::to_string(n) + ", m]", b.shape().text());
  const std::int64_t m = b.extent(-1), wide = n + m;
  const Shape lead = joint(lead_of(a.shape()), lead_of(b.shape()), "b");
  auto extents = lead.vector();
  extents.insert(extents.end(), {n, n});
  const Tensor left = a.with_origin(nullptr).broadcast(Shape(extents)).dense(context_.threads);
  extents.back() = m;
  const Tensor right = b.with_origin(nullptr).broadcast(Shape(extents)).dense(context_.threads);
  Tensor out(DType::f32, Shape(extents));
  pieces(context_.threads, lead.count(), 4096 / std::max<std::int64_t>(1, n * wide), [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> rows(static_cast<std::size_t>(n * wide));
    for (std::int64_t job = begin; job < end; ++job) {
      const float *from = left.raw<float>() + job * n * n, *also = right.raw<float>() + job * n * m;
      for (std::int64_t i = 0; i < n; ++i) {
        std::copy(from + i * n, from + (i + 1) * n, rows.begin() + i * wide);
        std::copy(also + i * m, also + (i + 1) * m, rows.begin() + i * wide + n);
      }
      eliminate(rows, n, wide);
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < m; ++j) out.raw<float>()[(job * n + i) * m + j] = float(rows[std::size_t(i * wide + n + j)]);
    }
  });
  return record(
      "solve", out, {&a, &b},
      [a, s = b.shape()](const Pull& p) -> std::vector<Tensor> {
        const Tensor back = p.ops.solve(a.transpose(-1, -2), p.gradient());
        return {p.wants(0) ? p.ops.sum_to(p.ops.neg(p.ops.matmul(back, p.output().transpose(-1, -2))), a.shape()) : Tensor(),
                p.ops.sum_to(back, s)};
      },
      true);
}

}  // namespace v0
}  // namespace heed
