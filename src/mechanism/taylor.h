// SPDX-License-Identifier: Apache-2.0
// Weights that are polynomials of degree 2 in q . k, as products of features of q and of k.
#pragma once
#include <algorithm>
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// x (..., D) -> (..., D (D + 1) / 2): x_i x_j for i <= j, those off the diagonal times sqrt(2), so that the features of q and k
/// multiply to (q . k)^2.
inline Tensor second_powers(const Ops& ops, const Tensor& x) {
  const auto D = x.extent(-1);
  const Tensor first(DType::i64, {D * (D + 1) / 2}), second(DType::i64, first.shape()), factor(DType::f32, first.shape());
  for (std::int64_t i = 0, n = 0; i < D; ++i)
    for (std::int64_t j = i; j < D; ++j, ++n) {
      first.data<std::int64_t>()[n] = i, second.data<std::int64_t>()[n] = j;
      factor.data<float>()[n] = i == j ? 1 : std::sqrt(2.0f);
    }
  return ops.mul(ops.mul(ops.index_select(x, -1, first), ops.index_select(x, -1, second)), factor);
}

/// out_i = sum_j w_ij v_j and sum_i = sum_j w_ij, w_ij = a0 + a1 s + a2 s^2, s = q_i . k_j, over all j or j <= i (causal), with a
/// state of moments in place of the weights. q, k (B, N, H, D), v (B, N, H, E) -> (B, N, H, E), (B, N, H, 1).
inline std::pair<Tensor, Tensor> by_moments(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, double a0, double a1, double a2,
                                            bool causal, std::int64_t chunk = 0) {
  const auto ones = [&](const Tensor& x) { return ops.full({x.extent(0), x.extent(1), x.extent(2), 1}, 1); };
  std::vector<Tensor> queries{ops.scale(ones(q), float(a0)), ops.scale(q, float(a1))}, keys{ones(k), k};
  if (a2 != 0) queries.push_back(ops.scale(second_powers(ops, q), float(a2))), keys.push_back(second_powers(ops, k));
  const Tensor left = ops.concat(queries, 3), right = ops.concat(keys, 3);
  if (causal) {
    ScanOptions options;
    options.chunk = chunk;
    const auto got = ops.scan(left, right, v, {}, options, want_sum);
    return {got.out, got.sum.reshape({q.extent(0), q.extent(1), q.extent(2), 1})};
  }
  const Tensor rows = left.permute({0, 2, 1, 3}), sums = ops.matmul(right.permute({0, 2, 3, 1}), ops.concat({v, ones(v)}, 3).permute({0, 2, 1, 3}));
  const auto both = ops.split(ops.matmul(rows, sums).permute({0, 2, 1, 3}), 3, {v.extent(3), 1});
  return {both[0], both[1]};
}

}  // namespace heed::mechanism
