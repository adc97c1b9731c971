// SPDX-License-Identifier: Apache-2.0
// Length generalization without position encoding (Wang et al., 2024): causal attention without positions, sharpened.
//   O_h = softmax(lambda_h q k^T / sqrt(D)) v,  lambda one number (UniformScale) or one a head (HeadScale)
#include <cmath>
#include <limits>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct NopeHeadScale : Mechanism {
  Tensor x, wq, wk, wv, wo, scale_param, out, entropy;
  std::string kind = "HeadScale";
  double softmax_scale = 1.2;
  std::optional<std::int64_t> hidden_size, num_key_value_heads;
  std::int64_t num_attention_heads = 8;
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("kind", kind, "a factor a head, or softmax_scale for all").one_of({"HeadScale", "UniformScale"});
    d.param("softmax_scale", softmax_scale, "factor of UniformScale; the initial scale_param of HeadScale");
    d.param("hidden_size", hidden_size, "width of x").computed("C");
    d.param("num_attention_heads", num_attention_heads, "query heads").least(1);
    d.param("num_key_value_heads", num_key_value_heads, "key and value heads").least(1).computed("num_attention_heads");
    d.param("causal", causal, "query i sees keys j <= i");
    d.input("x", x, "B N hidden_size", "tokens");
    d.weight("q_proj.weight", wq, "HD hidden_size");
    d.weight("k_proj.weight", wk, "GD hidden_size");
    d.weight("v_proj.weight", wv, "GD hidden_size");
    d.weight("o_proj.weight", wo, "hidden_size HD");
    d.weight("scale_param", scale_param, "num_attention_heads", "HeadScale").init(Init::ones).optional().sample();
    d.size("HD", "hidden_size");
    d.size("GD", num_key_value_heads ? "hidden_size//num_attention_heads*num_key_value_heads" : "hidden_size");
    d.output("out", out, "B N hidden_size");
    d.output("entropy", entropy, "B num_attention_heads N", "of every row of the weights, in bits");
  }

  void run(Ops& ops) override {
    const auto G = num_key_value_heads.value_or(num_attention_heads);
    Tensor q = split_heads(ops.linear(x, wq), num_attention_heads), weights;
    AttendOptions o;
    o.causal = causal;
    if (kind == "UniformScale")
      o.scale = float(softmax_scale / std::sqrt(double(q.extent(3))));
    else if (scale_param.defined())
      q = ops.mul(q, scale_param.reshape({num_attention_heads, 1}));
    else
      fail("weight scale_param", "one number a head", "none");
    if (wk.extent(0) != G * q.extent(3))
      fail("weight k_proj.weight", "num_key_value_heads heads, " + std::to_string(G * q.extent(3)) + " rows", std::to_string(wk.extent(0)));
    const Tensor k = split_heads(ops.linear(x, wk), G), v = split_heads(ops.linear(x, wv), G);
    out = ops.linear(join_heads(attend_into(ops, q, k, v, o, wants(entropy) ? &weights : nullptr)), wo);
    if (!wants(entropy)) return;
    const Tensor logs = ops.log(ops.maximum(weights, ops.full({1}, std::numeric_limits<float>::min())));
    entropy = ops.scale(ops.sum(ops.mul(weights, logs), {3}), float(-1 / std::log(2.0)));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(nope_head_scale, NopeHeadScale, "nope-head-scale", "position", "algorithm", 2,
               "Length Generalization of Causal Transformers without Position Encoding")
