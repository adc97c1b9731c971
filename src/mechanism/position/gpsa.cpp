// SPDX-License-Identifier: Apache-2.0
// Gated positional self-attention of ConViT (d'Ascoli et al., 2021): a gate a head mixes attention by content and by offset.
//   A = (1 - s) softmax(q k^T / sqrt(d)) + s softmax_j(v_pos . (dx, dy, dx^2 + dy^2)),  s = sigmoid(lambda_h)
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Gpsa : Mechanism {
  Tensor x, wqk, bqk, wv, bv, wo, bo, w_pos, b_pos, gating, out, weights;
  std::optional<std::int64_t> dim, img_size;
  std::int64_t num_heads = 8;
  bool qkv_bias = false, local_init = false;
  double locality_strength = 1;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "H, heads").least(1);
    d.param("img_size", img_size, "patches a side").least(1).computed("sqrt(N)");
    d.param("qkv_bias", qkv_bias, "biases of qk and v");
    d.param("locality_strength", locality_strength, "of the local initialisation: says how weights were made");
    d.param("local_init", local_init, "heads began as a convolution: says how weights were made");
    d.input("x", x, img_size ? "B img_size*img_size dim" : "B N dim", "patches, row by row");
    d.linear("qk", wqk, bqk, "2*dim", "dim", qkv_bias);
    d.linear("v", wv, bv, "dim", "dim", qkv_bias);
    d.linear("proj", wo, bo, "dim", "dim");
    d.linear("pos_proj", w_pos, b_pos, "num_heads", "3");
    d.weight("gating_param", gating, "num_heads").init(Init::ones);
    const std::string N = img_size ? "img_size*img_size" : "N";
    d.size("N", "196");
    d.output("out", out, "B " + N + " dim");
    d.output("weights", weights, "B num_heads " + N + " " + N);
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), C = x.extent(2), H = num_heads;
    std::int64_t side = img_size.value_or(1);
    while (!img_size && side * side < N) ++side;
    if (side * side != N) fail("input x", "a square of patches", x.shape().text());
    const Tensor offsets(DType::f32, {N, N, 3});
    auto* at = offsets.data<float>();
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t j = 0; j < N; ++j) {
        const auto dx = float(j % side - i % side), dy = float(j / side - i / side);
        *at++ = dx, *at++ = dy, *at++ = dx * dx + dy * dy;
      }
    const Tensor local = ops.softmax(ops.linear(offsets, w_pos, b_pos).permute({2, 0, 1}), 2);  // (H, N, N)
    const Tensor qk = ops.linear(x, wqk, bqk), v = split_heads(ops.linear(x, wv, bv), H);
    const auto half = [&](std::int64_t which) { return split_heads(qk.slice(2, which * C, C), H); };
    const Tensor s = ops.sigmoid(gating).reshape({1, H, 1, 1}), rest = ops.sub(ops.full({}, 1), s);
    const Tensor content = attend_into(ops, half(0), half(1), v, {}, wants(weights) ? &weights : nullptr).permute({0, 2, 1, 3});
    const Tensor near = ops.matmul(local, v.permute({0, 2, 1, 3}));  // both maps sum to 1, and so does their mixture
    out = ops.linear(ops.add(ops.mul(rest, content), ops.mul(s, near)).permute({0, 2, 1, 3}).reshape({B, N, C}), wo, bo);
    if (wants(weights)) {
      weights = ops.add(ops.mul(rest, weights), ops.mul(s, local));
      weights = ops.div(weights, ops.sum(weights, {3}, true));
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(gpsa, Gpsa, "gpsa", "position", "module", 2,
               "ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases")
