// SPDX-License-Identifier: Apache-2.0
// ReLU attention divided by sequence length (Wortsman et al., 2023):
//   O = phi(Q K^T / sqrt(D)) V / N^alpha, masked scores give 0
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct ReluAttention : Mechanism {
  Tensor q, k, v, out, weights;
  std::string phi = "relu";
  double alpha = 1;
  bool causal = false;
  std::optional<std::int64_t> num_heads, head_dim;

  void describe(Declaration& d) override {
    d.param("phi", phi, "the pointwise function").one_of({"relu", "relu^2", "gelu", "softplus", "identity", "relu6", "sigmoid"});
    d.param("alpha", alpha, "power of N in the divisor");
    d.param("causal", causal, "query i sees keys j <= i; the divisor stays N");
    d.param("num_heads", num_heads, "heads").computed("H");
    d.param("head_dim", head_dim, "width of a head").computed("D");
    d.input("q", q, "B N num_heads head_dim", "queries");
    d.input("k", k, "B N num_heads head_dim", "keys");
    d.input("v", v, "B N num_heads head_dim", "values");
    d.output("out", out, "B N num_heads head_dim");
    d.output("weights", weights, "B num_heads N N");
  }

  void run(Ops& ops) override {
    const auto N = q.extent(1);
    const double divisor = std::pow(double(N), alpha);
    if (phi == "relu" || phi == "sigmoid") {
      AttendOptions o;
      o.causal = causal;
      o.weighting = phi == "relu" ? Weighting::relu : Weighting::sigmoid;
      out = attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr);
      const auto factor = float((phi == "relu" ? double(N) : 1.0) / divisor);
      if (factor == 1) return;
      out = ops.scale(out, factor);
      if (wants(weights)) weights = ops.scale(weights, factor);
      return;
    }
    Tensor s = ops.matmul(q.permute({0, 2, 1, 3}), k.permute({0, 2, 3, 1}));
    s = ops.scale(s, 1 / std::sqrt(float(q.extent(3))));
    if (phi == "relu^2") s = ops.square(ops.relu(s));
    if (phi == "gelu") s = ops.gelu(s);
    if (phi == "softplus") s = ops.softplus(s);
    if (phi == "relu6") s = ops.minimum(ops.relu(s), ops.full({1}, 6));
    if (causal) s = ops.where(square_mask(N, [](auto p, auto j) { return j <= p; }), s, ops.full({1}, 0));
    weights = ops.scale(s, float(1 / divisor));
    out = ops.matmul(weights, v.permute({0, 2, 1, 3})).permute({0, 2, 1, 3});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(relu_attention, ReluAttention, "relu-attention", "dense", "op", 2, "Replacing softmax with ReLU in Vision Transformers")
