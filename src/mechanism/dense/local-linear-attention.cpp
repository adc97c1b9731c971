// SPDX-License-Identifier: Apache-2.0
// Local linear attention: the value that a weighted ridge regression of v on the keys around the query gives at the query.
//   w_j = exp(q.k_j / h) (constant: 1),  z_j = k_j - q,  W = sum w_j,  m = sum w_j z_j,  S = sum w_j z_j z_j^T + lam I,
//   rho = S^-1 m,  out = sum_j w_j (1 - rho.z_j) v_j / (W - rho.m), sums over the visible keys
#include <cmath>

#include "mechanism/mechanism.h"
#include "ops/regression.h"

namespace heed::mechanism {
namespace {

struct LocalLinear : Mechanism {
  Tensor q, k, v, ridge, out, weights, rho;
  std::optional<double> h;
  double lam = 1;
  std::string kernel = "exp";
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("h", h, "bandwidth: scores are q.k/h").least(1e-6).computed("sqrt(D)");
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
    const heed::ops::RegressionOptions options{1 / h.value_or(std::sqrt(double(q.extent(3)))), kernel == "exp", causal, lam};
    const auto [intercepts, maps, slopes] = heed::ops::regress(ops, q, k, v, ridge, options, wants(weights));
    out = intercepts, weights = maps, rho = slopes;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(local_linear_attention, LocalLinear, "local-linear-attention", "dense", "op", 2,
               "Local Linear Attention: An Optimal Interpolation of Linear and Softmax Attention For Test-Time Regression")
