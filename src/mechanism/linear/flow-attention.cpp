// SPDX-License-Identifier: Apache-2.0
// Flow-Attention (Flowformer; Wu et al., 2022). Queries receive and keys send a flow that is conserved: q, k through a sigmoid,
//   I_i = q_i . sum_j k_j,  O_j = k_j . sum_i q_i,  I'_i = q_i . sum_j k_j / O_j,  O'_j = clamp(k_j . sum_i q_i / I_i, -1, 1),
//   out_i = sigmoid(I'_i N / M) (q_i / I_i) sum_j k_j^T v_j M softmax_j(O')      (eps on both factors of each product)
// Causal: sums up to i, I' and O' over averages, and the softmax is against the sum so far.
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct FlowAttention : Mechanism {
  Tensor q, k, v, out;
  bool causal = false;
  std::optional<std::int64_t> n_heads;
  double eps = 1e-6;

  void describe(Declaration& d) override {
    d.param("causal", causal, "flows up to each position; needs as many queries as keys");
    d.param("n_heads", n_heads, "heads").least(1).computed("H");
    d.param("eps", eps, "added to both factors of a flow").least(0);
    const std::string H = n_heads ? "n_heads" : "H", M = causal ? "N" : "M";
    d.input("q", q, "B N " + H + " D", "queries");
    d.input("k", k, "B " + M + " " + H + " D", "keys");
    d.input("v", v, "B " + M + " " + H + " E", "values");
    d.output("out", out, "B N " + H + " E");
  }

  void run(Ops& ops) override {
    const Tensor queries = ops.sigmoid(q), keys = ops.sigmoid(k);
    const auto N = q.extent(1), M = k.extent(1);
    const auto total = [&](const Tensor& x) { return causal ? ops.cumsum(x, 1) : ops.sum(x, {1}, true); };
    const auto flow = [&](const Tensor& x, const Tensor& sums) {  // (B, n, H, 1)
      return ops.sum(ops.mul(ops.shift(x, float(eps)), ops.shift(sums, float(eps))), {3}, true);
    };
    const Tensor incoming = flow(queries, total(keys)), outgoing = flow(keys, total(queries));
    if (!causal) {
      const Tensor conserved = flow(queries, total(ops.div(keys, outgoing)));
      const Tensor sent = ops.clamp(flow(keys, total(ops.div(queries, incoming))), -1, 1);
      const Tensor allocation = ops.sigmoid(ops.scale(conserved, float(double(N) / double(M))));
      const Tensor competed = ops.mul(v, ops.scale(ops.softmax(sent, 1), float(M)));
      const Tensor context = ops.matmul(keys.permute({0, 2, 3, 1}), competed.permute({0, 2, 1, 3}));
      out = ops.mul(ops.matmul(ops.div(queries, incoming).permute({0, 2, 1, 3}), context).permute({0, 2, 1, 3}), allocation);
      return;
    }
    Tensor count(DType::f32, {1, N, 1, 1});
    for (std::int64_t t = 0; t < N; ++t) count.data<float>()[t] = float(t + 1);
    const auto average = [&](const Tensor& x, const Tensor& by) { return total(ops.div(ops.mul(x, count), by)); };
    const Tensor conserved = ops.div(flow(queries, average(keys, outgoing)), count);
    const Tensor sent = ops.exp(ops.clamp(ops.div(flow(keys, average(queries, incoming)), count), -1, 1));
    const Tensor competed = ops.mul(v, ops.mul(ops.div(sent, ops.cumsum(sent, 1)), count));
    out = ops.mul(ops.scan(ops.div(queries, incoming), keys, competed).out, ops.sigmoid(conserved));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(flow_attention, FlowAttention, "flow-attention", "linear", "op", 1,
               "Flowformer: Linearizing Transformers with Conservation Flows")
