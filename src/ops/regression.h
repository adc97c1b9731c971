// SPDX-License-Identifier: Apache-2.0
// Weighted ridge regressions of values on keys, one around each query, in f64 from f32 to f32: what is left of a weighted mean
// after its slope is removed cancels, so that f32 would keep few digits where keys are few or the ridge is small.
#pragma once
#include "heed/ops.h"

namespace heed::ops {

struct RegressionOptions {
  double scale = 1;         ///< weights are exp(scale q . k)
  bool exponential = true;  ///< false: every weight is 1
  bool causal = true;       ///< query i sees keys j <= i + M - N
  double lambda = 1;        ///< where no ridge is given
};

struct Regressed {
  Tensor out;      ///< [B, N, H, E], the intercept; 0 where no key is seen
  Tensor weights;  ///< [B, H, N, M], of the values in it; they sum to 1; undefined unless asked for
  Tensor rho;      ///< [B, N, H, D], S^-1 m
};

/// With w_j the weight of key j, z_j = k_j - q, W = sum w_j, m = sum w_j z_j, S = sum w_j z_j z_j^T + lambda I: rho = S^-1 m,
/// weights w_j (1 - rho . z_j) / (W - rho . m), out = weights . v. q [B, N, H, D], k [B, M, H, D], v [B, M, H, E]; ridge
/// [B, N, H] or undefined: lambda of each query. All f32. Its derivative cannot be differentiated again.
Regressed regress(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& ridge, const RegressionOptions& options,
                  bool want_weights);

}  // namespace heed::ops
