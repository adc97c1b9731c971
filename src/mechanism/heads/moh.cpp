// SPDX-License-Identifier: Apache-2.0
// Mixture-of-Head attention (Jin et al., 2024), the released gates: every head's output times a gate of its token.
//   routed = k top_k(softmax(W_r x)) / sum of the k,  shared = s softmax(W_s x),  (a1, a2) = 2 softmax(W_h x)
//   gates = [a1 shared, a2 routed];  without shared heads the routed ones alone
#include <limits>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Moh : Mechanism {
  Tensor x, wqkv, bqkv, wo, bo, q_norm, q_norm_bias, k_norm, k_norm_bias, w_routed, w_balance, w_shared, out, gates;
  std::optional<std::int64_t> dim, head_dim;
  std::int64_t num_heads = 8, shared_head = 0, routed_head = 2;
  bool qk_norm = false;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "H, heads").least(1);
    d.param("head_dim", head_dim, "width of a head").least(1).computed("dim/num_heads");
    d.param("shared_head", shared_head, "first heads, which every token uses").least(0);
    d.param("routed_head", routed_head, "other heads that a token uses; 0: every head is shared").least(0);
    d.param("qk_norm", qk_norm, "layer norm of queries and keys");
    const std::string head = head_dim ? "head_dim" : "int(dim/num_heads)";
    d.input("x", x, "B N dim", "tokens");
    d.linear("qkv", wqkv, bqkv, "3*num_heads*" + head, "dim");
    d.linear("proj", wo, bo, "dim", "num_heads*" + head);
    for (auto [name, weight, bias] : {std::tuple{"q_norm", &q_norm, &q_norm_bias}, {"k_norm", &k_norm, &k_norm_bias}}) {
      d.weight(std::string(name) + ".weight", *weight, head).when(qk_norm, "qk_norm");
      d.weight(std::string(name) + ".bias", *bias, head).when(qk_norm, "qk_norm");
    }
    d.weight("wg.weight", w_routed, "num_heads-shared_head dim", "router").when(routed_head > 0, "routed_head>0");
    d.weight("wg_0.weight", w_balance, "2 dim", "balance of shared and routed heads")
        .when(shared_head > 0 && routed_head > 0, "shared_head>0, routed_head>0");
    d.weight("wg_1.weight", w_shared, "shared_head dim", "weights of the shared heads").when(shared_head > 0, "shared_head>0");
    d.output("out", out, "B N dim");
    d.output("gates", gates, "B N num_heads", "0 where a head is dropped");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), H = num_heads, R = H - shared_head;
    if (routed_head > R)
      fail("parameter routed_head", "at most num_heads - shared_head = " + std::to_string(R), std::to_string(routed_head));
    if (routed_head == 0 && R > 0)
      fail("parameter shared_head", "num_heads where routed_head is 0, " + std::to_string(H), std::to_string(shared_head));
    const auto shared = [&] { return ops.scale(ops.softmax(ops.linear(x, w_shared), 2), float(shared_head)); };
    if (routed_head == 0) {
      gates = shared();
    } else {
      const Tensor p = ops.softmax(ops.linear(x, w_routed), 2);
      const Tensor chosen = ops.topk(ops.no_gradient(p, "top-k choice"), routed_head, 2).second;
      const Tensor kept = ops.mul(p, ops.scatter_add(ops.full(chosen.shape(), 1), 2, chosen, R));
      const Tensor total = ops.maximum(ops.sum(kept, {2}, true), ops.full({}, std::numeric_limits<float>::epsilon()));
      gates = ops.scale(ops.div(kept, total), float(routed_head));
      if (shared_head > 0) {
        const Tensor balance = ops.scale(ops.softmax(ops.linear(x, w_balance), 2), 2);
        gates = ops.concat({ops.mul(shared(), balance.slice(2, 0, 1)), ops.mul(gates, balance.slice(2, 1, 1))}, 2);
      }
    }
    const auto d = wo.extent(1) / H;
    const Tensor qkv = ops.linear(x, wqkv, bqkv).reshape({B, N, 3, H, d});
    const auto part = [&](std::int64_t which) { return qkv.slice(2, which, 1).reshape({B, N, H, d}); };
    const Tensor q = qk_norm ? ops.layer_norm(part(0), q_norm, q_norm_bias) : part(0);
    const Tensor k = qk_norm ? ops.layer_norm(part(1), k_norm, k_norm_bias) : part(1);
    const Tensor heads = ops.mul(ops.attend(q, k, part(2)).out, gates.reshape({B, N, H, 1}));
    out = ops.linear(join_heads(heads), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(moh, Moh, "moh", "heads", "module", 1, "MoH: Multi-Head Attention as Mixture-of-Head Attention")
