// SPDX-License-Identifier: Apache-2.0
// Lightning attention in TransNormerLLM (Qin et al., 2024: Various Lengths, Constant Speed): q, k, v = silu of projections,
//   o_i = sum_{j <= i} exp(-s_h (i - j)) (q_i . k_j) v_j,   out = W_o (LayerNorm(o) * sigmoid(G_1 G_0 x)),
// with ALiBi's slopes, lowered from layer to layer.
#include "mechanism/attention.h"
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct TnlLightningAttention : Mechanism {
  Tensor x, q_weight, q_bias, k_weight, k_bias, v_weight, v_bias, o_weight, o_bias, norm_weight, norm_bias, gate0_weight, gate0_bias,
      gate1_weight, gate1_bias, out;
  std::optional<std::int64_t> embed_dim;
  std::int64_t num_heads = 8, layer_idx = 0, num_layers = 12;
  bool bias = false;

  void describe(Declaration& d) override {
    d.param("embed_dim", embed_dim, "width of x").least(1).computed("C");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("bias", bias, "whether the linear layers have one");
    d.param("layer_idx", layer_idx, "this layer").least(0);
    d.param("num_layers", num_layers, "of how many").least(2);
    const std::string C = embed_dim ? "embed_dim" : "C", low = C + "//num_heads";
    d.input("x", x, "B N " + C, "tokens");
    d.linear("q_proj", q_weight, q_bias, C, C, bias);
    d.linear("k_proj", k_weight, k_bias, C, C, bias);
    d.linear("v_proj", v_weight, v_bias, C, C, bias);
    d.linear("o_proj", o_weight, o_bias, C, C, bias);
    d.weight("norm.weight", norm_weight, C);
    d.weight("norm.bias", norm_bias, C);
    d.linear("output_gate.0", gate0_weight, gate0_bias, low, C, bias);
    d.linear("output_gate.1", gate1_weight, gate1_bias, C, low, bias);
    d.output("out", out, "B N " + C);
  }

  void run(Ops& ops) override {
    const Tensor q = split_heads(ops.silu(ops.linear(x, q_weight, q_bias)), num_heads);
    const Tensor k = split_heads(ops.silu(ops.linear(x, k_weight, k_bias)), num_heads);
    const Tensor v = split_heads(ops.silu(ops.linear(x, v_weight, v_bias)), num_heads);
    auto slopes = alibi(num_heads);
    for (float& s : slopes) s *= -float(1 - double(layer_idx) / double(num_layers - 1) + 1e-5);
    const Tensor heads = ops.scan(q, k, v, {.decay = Tensor::of(slopes, {num_heads, 1})}).out;
    const Tensor gate = ops.sigmoid(ops.linear(ops.linear(x, gate0_weight, gate0_bias), gate1_weight, gate1_bias));
    out = ops.linear(ops.mul(ops.layer_norm(join_heads(heads), norm_weight, norm_bias), gate), o_weight, o_bias);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(tnl_lightning_attention, TnlLightningAttention, "tnl-lightning-attention", "linear", "op", 3,
               "Various Lengths, Constant Speed: Efficient Language Modeling with Lightning Attention")
