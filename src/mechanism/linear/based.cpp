// SPDX-License-Identifier: Apache-2.0
// Based (Arora et al., 2024), its three token mixers:
//   linear_attention: weights 1 + s + s^2/2, s = q.k / sqrt(feature_dim), causal, over (their sum + eps)
//   base_conv: out_proj(silu(causal depthwise convolution of u1) * u2), [u1 | u2] = in_proj(x)
//   slide_attn: exact attention of one head over the last block_size + 1 keys
#include "mechanism/heads.h"
#include "mechanism/taylor.h"

namespace heed::mechanism {
namespace {

struct Based : Mechanism {
  Tensor x, q_weight, k_weight, v_weight, out_weight, out_bias, in_weight, in_bias, conv, qkv_weight, qkv_bias, out, recurrent;
  std::string mixer = "linear_attention", feature_map = "taylor_exp";
  std::optional<std::int64_t> d_model, head_dim;
  std::int64_t num_heads = 12, feature_dim = 16, kernel_size = 3, expand_proj = 4, block_size = 64;
  double eps = 1e-12;

  void describe(Declaration& d) override {
    const bool linear = mixer == "linear_attention", gated = mixer == "base_conv", window = mixer == "slide_attn";
    d.param("mixer", mixer, "which of the three").one_of({"linear_attention", "base_conv", "slide_attn"});
    d.param("d_model", d_model, "width of x").least(1).computed("C");
    d.param("num_heads", num_heads, "heads of linear_attention").least(1);
    d.param("feature_dim", feature_dim, "width of its queries and keys a head").least(1);
    d.param("head_dim", head_dim, "width of its values a head").least(1).computed("d_model/num_heads");
    d.param("feature_map", feature_map, "of its queries and keys").one_of({"taylor_exp"});
    d.param("eps", eps, "added to its row sums").least(0);
    d.param("kernel_size", kernel_size, "of base_conv").least(1);
    d.param("expand_proj", expand_proj, "width of base_conv over d_model").least(1);
    d.param("block_size", block_size, "keys before its own that a query of slide_attn sees").least(0);
    const std::string C = d_model ? "d_model" : "C", V = head_dim ? "num_heads*head_dim" : C, wide = "expand_proj*" + C;
    d.input("x", x, "B N " + C, "tokens");
    d.weight("proj_q.weight", q_weight, "num_heads*feature_dim " + C).when(linear, "mixer=linear_attention");
    d.weight("proj_k.weight", k_weight, "num_heads*feature_dim " + C).when(linear, "mixer=linear_attention");
    d.weight("proj_v.weight", v_weight, V + " " + C).when(linear, "mixer=linear_attention");
    d.weight("in_proj.weight", in_weight, wide + " " + C).when(gated, "mixer=base_conv");
    d.weight("in_proj.bias", in_bias, wide).when(gated, "mixer=base_conv");
    d.weight("conv.conv.weight", conv, wide + "//2 1 kernel_size").when(gated, "mixer=base_conv");
    d.weight("Wqkv.weight", qkv_weight, "3*" + C + " " + C).when(window, "mixer=slide_attn");
    d.weight("Wqkv.bias", qkv_bias, "3*" + C).when(window, "mixer=slide_attn");
    d.weight("out_proj.weight", out_weight, C + " " + (linear ? V : gated ? wide + "//2" : C));
    d.weight("out_proj.bias", out_bias, C).when(!linear, "mixer=base_conv or slide_attn");
    d.output("out", out, "B N " + C);
    d.output("recurrent", recurrent, "B N " + C, "token by token").when(linear, "mixer=linear_attention");
  }

  void run(Ops& ops) override {
    if (mixer == "linear_attention") return attend_linearly(ops);
    if (mixer == "base_conv") {
      const auto wide = in_weight.extent(0) / 2, N = x.extent(1);
      const auto halves = ops.split(ops.linear(x, in_weight, in_bias), 2, {wide, wide});
      const Tensor padded = ops.pad(halves[0], 1, kernel_size - 1, 0);
      Tensor sum;
      for (std::int64_t i = 0; i < kernel_size; ++i) {
        const Tensor tap = ops.mul(padded.slice(1, i, N), conv.slice(2, i, 1).reshape({wide}));
        sum = sum.defined() ? ops.add(sum, tap) : tap;
      }
      out = ops.linear(ops.mul(ops.silu(sum), halves[1]), out_weight, out_bias);
      return;
    }
    const auto C = x.extent(2);
    const auto qkv = ops.split(ops.linear(x, qkv_weight, qkv_bias), 2, {C, C, C});
    AttendOptions o;
    o.causal = true;
    o.window_left = block_size;
    const Tensor attended = ops.attend(split_heads(qkv[0], 1), split_heads(qkv[1], 1), split_heads(qkv[2], 1), o).out;
    out = ops.linear(join_heads(attended), out_weight, out_bias);
  }

  void attend_linearly(const Ops& ops) {
    const float root = float(std::pow(double(feature_dim), -0.25));
    const Tensor q = ops.scale(split_heads(ops.linear(x, q_weight), num_heads), root);
    const Tensor k = ops.scale(split_heads(ops.linear(x, k_weight), num_heads), root);
    const Tensor v = split_heads(ops.linear(x, v_weight), num_heads);
    const auto mix = [&](std::int64_t chunk) {
      const auto [sums, total] = by_moments(ops, q, k, v, 1, 1, 0.5, true, chunk);
      return ops.linear(join_heads(ops.div(sums, ops.shift(total, float(eps)))), out_weight);
    };
    out = mix(0);
    if (wants(recurrent)) recurrent = mix(1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(based, Based, "based", "linear", "block", 2,
               "Simple linear attention language models balance the recall-throughput tradeoff")
