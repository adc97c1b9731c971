// SPDX-License-Identifier: Apache-2.0
// Queries and keys normalised over D before the scores: rms with weights, or l2 (cosine scores times `scale`, 10 by default).
#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct QkNorm : Attention {
  Tensor q_weight, k_weight;
  std::string norm = "rms";
  double eps = 1e-6;

  void describe(Declaration& d) override {
    Attention::describe(d);
    d.param("norm", norm, "how they are normalised").one_of({"rms", "l2"});
    d.param("eps", eps, "rms: added to the mean square; l2: the least norm").least(0);
    d.weight("q_norm.weight", q_weight, "D").when(norm == "rms", "norm=rms");
    d.weight("k_norm.weight", k_weight, "D").when(norm == "rms", "norm=rms");
  }
  void run(Ops& ops) override {
    const auto normalise = [&](const Tensor& x, const Tensor& weight) {
      if (norm == "rms") return ops.rms_norm(x, weight, float(eps));
      const Tensor length = ops.sqrt(ops.sum(ops.square(x), {3}, true));
      return ops.div(x, ops.maximum(length, ops.full({1}, float(eps))));
    };
    if (norm == "l2" && !scale) scale = 10;
    attend(ops, normalise(q, q_weight), normalise(k, k_weight), v, attend_options());
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(qk_norm, QkNorm, "qk-norm", "position", "op", 1, "")
