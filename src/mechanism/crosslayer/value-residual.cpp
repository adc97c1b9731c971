// SPDX-License-Identifier: Apache-2.0
// Value residual learning (Zhou et al., 2024): layers after the first attend over values that hold a share of the first layer's.
//   resformer  V' = lambda1 V_1 + lambda2 V_i        svformer  V' = V_1, so that one V is cached for all layers
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct ValueResidual : Mechanism {
  std::vector<Tensor> x, wq, wk, wv, wo, outs;
  Tensor cos, sin, out;
  std::string variant = "resformer";
  double lambda1 = 0.5, lambda2 = 0.5, rope_theta = 10000;
  std::optional<std::int64_t> hidden_size, num_key_value_heads;
  std::int64_t num_attention_heads = 8, num_layers = 2;
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("variant", variant, "resformer mixes, svformer shares the first layer's values").one_of({"resformer", "svformer"});
    d.param("lambda1", lambda1, "share of the first layer's values");
    d.param("lambda2", lambda2, "share of the layer's own values");
    d.param("hidden_size", hidden_size, "width of x").computed("C");
    d.param("num_attention_heads", num_attention_heads, "query heads").least(1);
    d.param("num_key_value_heads", num_key_value_heads, "key and value heads").least(1).computed("num_attention_heads");
    d.param("num_layers", num_layers, "attention layers").least(1).most(1000);
    d.param("rope_theta", rope_theta, "base of the rotation that cos and sin hold");
    d.param("causal", causal, "query i sees keys j <= i");
    const auto layers = std::size_t(num_layers);
    for (auto* list : {&x, &wq, &wk, &wv, &wo, &outs}) list->resize(layers);
    const std::string queries = "num_attention_heads*D",
                      keys = (num_key_value_heads ? "num_key_value_heads" : "num_attention_heads") + std::string("*D");
    d.input("cos", cos, "N D", "of the rotation, its halves alike").no_gradient();
    d.input("sin", sin, "N D", "of the rotation").no_gradient();
    d.size("D", "hidden_size//num_attention_heads");
    d.output("out", out, "B N hidden_size", "the last layer's");
    for (std::size_t l = 0; l < layers; ++l) {
      const std::string at = std::to_string(l);
      d.input("x" + at, x[l], "B N hidden_size", "what layer " + at + " reads");
      d.weight(at + ".q_proj.weight", wq[l], queries + " hidden_size");
      d.weight(at + ".k_proj.weight", wk[l], keys + " hidden_size");
      d.weight(at + ".v_proj.weight", wv[l], keys + " hidden_size").when(l == 0 || variant == "resformer", "layer 0, or variant=resformer");
      d.weight(at + ".o_proj.weight", wo[l], "hidden_size " + queries);
      d.output("out" + at, outs[l], "B N hidden_size");
    }
  }

  void run(Ops& ops) override {
    const auto groups = num_key_value_heads.value_or(num_attention_heads);
    AttendOptions o;
    o.causal = causal;
    Tensor first;
    for (std::size_t l = 0; l < x.size(); ++l) {
      const Tensor q = rotate_half(ops, split_heads(ops.linear(x[l], wq[l]), num_attention_heads), cos, sin);
      const Tensor k = rotate_half(ops, split_heads(ops.linear(x[l], wk[l]), groups), cos, sin);
      Tensor value = first;
      if (l == 0)
        value = first = ops.linear(x[l], wv[l]);
      else if (variant == "resformer")
        value = ops.add(ops.scale(first, float(lambda1)), ops.scale(ops.linear(x[l], wv[l]), float(lambda2)));
      outs[l] = ops.linear(join_heads(ops.attend(q, k, split_heads(value, groups), o).out), wo[l]);
    }
    out = outs.back();
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(value_residual, ValueResidual, "value-residual", "crosslayer", "module", 2,
               "Value Residual Learning For Alleviating Attention Concentration In Transformers")
