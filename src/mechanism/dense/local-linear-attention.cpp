// SPDX-License-Identifier: Apache-2.0
// Local linear attention: the value that a weighted ridge regression of v on the keys around the query gives at the query.
//   w_j = exp(q.k_j / h) (constant: 1),  z_j = k_j - q,  W = sum w_j,  m = sum w_j z_j,  S = sum w_j z_j z_j^T + lam I,
//   rho = S^-1 m,  out = sum_j w_j (1 - rho.z_j) v_j / (W - rho.m), sums over the visible keys
// All is divided by the largest w of a row, and so is lam.
#include <cmath>
#include <limits>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct LocalLinear : Mechanism {
  Tensor q, k, v, ridge, out, weights, rho;
  std::optional<double> h;
  double lam = 1;
  std::string kernel = "exp";
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("h", h, "bandwidth: scores are q.k/h").computed("sqrt(D)");
    d.param("lam", lam, "ridge, relative to exp(q.k/h) as it is").least(0);
    d.param("kernel", kernel, "weights of the regression").one_of({"exp", "constant"});
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.input("q", q, "B N H D", "queries");
    d.input("k", k, "B M H D", "keys");
    d.input("v", v, "B M H E", "values");
    d.input("ridge", ridge, "B N H", "in the place of lam").optional();
    d.size("N", "256");
    d.output("out", out, "B N H E");
    d.output("weights", weights, "B H N M", "they sum to 1 and may be negative");
    d.output("rho", rho, "B N H D", "slope of the weighted mean");
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3), M = k.extent(1), E = v.extent(3);
    const Tensor keys = k.permute({0, 2, 1, 3}), values = v.permute({0, 2, 1, 3}), queries = q.permute({0, 2, 1, 3});
    const Tensor ridges = ridge.defined() ? ridge.permute({0, 2, 1}).reshape({B, H, N, 1}) : ops.full({B, H, N, 1}, float(lam));
    const Tensor none = ops.full({}, 0), one = ops.full({}, 1), identity(Tensor::zeros(DType::f32, {D, D}));
    for (std::int64_t i = 0; i < D; ++i) identity.data<float>()[i * D + i] = 1;
    std::vector<Tensor> outs, maps, slopes;
    constexpr std::int64_t block = 32;  // queries whose differences to all keys are in memory at once
    for (std::int64_t begin = 0; begin < N; begin += block) {
      const auto n = std::min(block, N - begin);
      const Tensor here = queries.slice(2, begin, n);
      Tensor scores = kernel == "constant" ? ops.full({B, H, n, M}, 0)
                                           : ops.scale(ops.matmul(here, keys.transpose(2, 3)), float(1 / h.value_or(std::sqrt(double(D)))));
      if (causal) scores = ops.where(ops.triangle(n, M, begin + M - N), scores, ops.full({}, -std::numeric_limits<float>::infinity()));
      const Tensor known = ops.no_gradient(scores, "the largest score cancels");
      const Tensor top = ops.clamp(M == 0 ? ops.full({B, H, n, 1}, 0) : ops.max(known, {3}, true), -69, 1e30f);  // exp(69) is 1e30
      const Tensor w = ops.exp(ops.sub(scores, top)), total = ops.sum(w, {3}, true);                             // (B, H, n, 1)
      const Tensor z = ops.sub(keys.reshape({B, H, 1, M, D}), here.reshape({B, H, n, 1, D}));
      const Tensor wz = ops.mul(z, w.reshape({B, H, n, M, 1})), m = ops.sum(wz, {3});
      const Tensor lambda = ops.mul(ridges.slice(2, begin, n), ops.exp(ops.neg(top)));
      const Tensor S = ops.add(ops.matmul(wz.transpose(3, 4), z), ops.mul(identity, lambda.reshape({B, H, n, 1, 1})));
      const Tensor slope = ops.solve(S, m.reshape({B, H, n, D, 1}));
      const Tensor rest = ops.sub(one, ops.matmul(z, slope).reshape({B, H, n, M}));  // 1 - rho.z
      const Tensor left = ops.sub(total, ops.sum(ops.mul(m, slope.reshape({B, H, n, D})), {3}, true));
      const Tensor empty = ops.equal(ops.no_gradient(total, "no key is seen"), none);
      maps.push_back(ops.div(ops.mul(w, rest), ops.where(empty, one, left)));
      outs.push_back(ops.matmul(maps.back(), values));
      slopes.push_back(slope.reshape({B, H, n, D}));
      if (!wants(weights)) maps.clear();
    }
    const auto whole = [&](const std::vector<Tensor>& parts, std::int64_t wide) {
      return parts.empty() ? Tensor(DType::f32, {B, H, 0, wide}) : ops.concat(parts, 2);
    };
    out = whole(outs, E).permute({0, 2, 1, 3});
    rho = whole(slopes, D).permute({0, 2, 1, 3});
    if (wants(weights)) weights = whole(maps, M);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(local_linear_attention, LocalLinear, "local-linear-attention", "dense", "op", 2,
               "Local Linear Attention: An Optimal Interpolation of Linear and Softmax Attention For Test-Time Regression")
