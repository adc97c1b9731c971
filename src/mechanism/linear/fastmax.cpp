// SPDX-License-Identifier: Apache-2.0
// FAST / Fastmax (Gerami et al., 2024): softmax's exponential cut after degree p,
//   out_i = sum_j f(s_ij) v_j / sum_j f(s_ij),   f(s) = a0 + a1 s (+ a2 s^2),   s = q_i . k_j without a scale,
// from the moments of the keys, in time linear in N. normalize scales q and k by lim over the head's largest token norm.
#include "mechanism/taylor.h"

namespace heed::mechanism {
namespace {

struct Fastmax : Mechanism {
  Tensor q, k, v, out;
  std::int64_t p = 1, normalize = 0;
  bool mask = false;
  double lim = 1, a0 = 1, a1 = 1, a2 = 0.5, temperature = 1;

  void describe(Declaration& d) override {
    d.param("p", p, "degree of f").least(1).most(2);
    d.param("mask", mask, "causal");
    d.param("normalize", normalize, "1: largest norms become lim").least(0).most(1);
    d.param("lim", lim, "that norm").least(0);
    d.param("a0", a0, "f(0)");
    d.param("a1", a1, "of s");
    d.param("a2", a2, "of s^2");
    d.param("temperature", temperature, "without effect: the released code sets it to 1");
    d.input("q", q, "B N H D", "queries");
    d.input("k", k, "B N H D", "keys");
    d.input("v", v, "B N H E", "values");
    d.output("out", out, "B N H E");
  }

  Tensor bounded(const Ops& ops, const Tensor& x) const {
    if (normalize == 0 || x.count() == 0) return x;
    const Tensor largest = ops.sqrt(ops.max(ops.sum(ops.square(x), {3}, true), {1}, true));
    return ops.div(ops.scale(x, float(lim)), largest);
  }

  void run(Ops& ops) override {
    const auto [sums, total] = by_moments(ops, bounded(ops, q), bounded(ops, k), v, a0, a1, p == 2 ? a2 : 0, mask);
    out = ops.div(sums, total);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(fastmax, Fastmax, "fastmax", "linear", "op", 2, "FAST: Factorizable Attention for Speeding up Transformers")
