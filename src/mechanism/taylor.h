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
/// state of moments in place of the weights. q, k (B, N, H, D), v (B, N, H, E) -> (B, N, H, E), (B, N, H, 1). Features exist for a
/// block of tokens at a time.
inline std::pair<Tensor, Tensor> by_moments(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, double a0, double a1,
                                            double a2, bool causal, std::int64_t chunk = 0) {
  constexpr std::int64_t block = 256;
  const auto N = q.extent(1), E = v.extent(3);
  const auto features = [&](const Tensor& x, double f0, double f1, double f2) {
    std::vector<Tensor> parts{ops.full({x.extent(0), x.extent(1), x.extent(2), 1}, float(f0)), ops.scale(x, float(f1))};
    if (a2 != 0) parts.push_back(ops.scale(second_powers(ops, x), float(f2)));
    return ops.concat(parts, 3);
  };
  std::vector<Tensor> outs, totals;
  if (causal) {
    ScanOptions options;
    options.chunk = chunk;
    ScanTerms before;
    for (std::int64_t from = 0; from == 0 || from < N; from += block) {
      const auto part = [&](const Tensor& x) { return x.slice(1, from, std::min(block, N - from)); };
      const auto got = ops.scan(features(part(q), a0, a1, a2), features(part(k), 1, 1, 1), part(v), before, options,
                                want_sum | want_final | want_final_sum);
      outs.push_back(got.out), totals.push_back(got.sum.reshape({q.extent(0), got.sum.extent(1), q.extent(2), 1}));
      before.initial = got.final, before.initial_sum = got.final_sum;
    }
    return {ops.concat(outs, 1), ops.concat(totals, 1)};
  }
  Tensor moments;  // (B, H, features, E + 1)
  const auto M = k.extent(1);
  for (std::int64_t from = 0; from == 0 || from < M; from += block) {
    const auto part = [&](const Tensor& x) { return x.slice(1, from, std::min(block, M - from)); };
    const Tensor values = part(v), ones = ops.full({v.extent(0), values.extent(1), v.extent(2), 1}, 1);
    const Tensor added = ops.matmul(features(part(k), 1, 1, 1).permute({0, 2, 3, 1}), ops.concat({values, ones}, 3).permute({0, 2, 1, 3}));
    moments = moments.defined() ? ops.add(moments, added) : added;
  }
  for (std::int64_t from = 0; from == 0 || from < N; from += block) {
    const Tensor rows = features(q.slice(1, from, std::min(block, N - from)), a0, a1, a2);
    const auto both = ops.split(ops.matmul(rows.permute({0, 2, 1, 3}), moments).permute({0, 2, 1, 3}), 3, {E, 1});
    outs.push_back(both[0]), totals.push_back(both[1]);
  }
  return {ops.concat(outs, 1), ops.concat(totals, 1)};
}

}  // namespace heed::mechanism
