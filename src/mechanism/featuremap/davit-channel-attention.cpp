// SPDX-License-Identifier: Apache-2.0
// Channel group attention of DaViT (Ding et al., 2022), as released: channels of a head are the tokens, places their width. With k
// as the query, v as the key and q as the value,
//   A = softmax(Cg^-1/2 k^T v) (Cg x Cg),   y[n, c] = sum_d A[c, d] q[n, d],   out = proj y.
// The block: x += DW3x3(x);  x += attention(LN1 x);  x += DW3x3(x);  x += fc2(gelu(fc1(LN2 x))).
#include <cmath>

#include "mechanism/heads.h"
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct DavitChannelAttention : Mechanism {
  Tensor x, out, weights;
  Affine qkv, proj, fc1, fc2, cpe[2];
  LayerNorm norm1, norm2;
  std::optional<std::int64_t> dim, H, W;
  std::int64_t num_heads = 8;
  double mlp_ratio = 4;
  bool qkv_bias = false, block = false;

  void describe(Declaration& d) override {
    const When whole{block, "block=true"};
    const std::string hidden = "int(dim*mlp_ratio)";
    d.param("dim", dim, "channels").computed("C");
    d.param("num_heads", num_heads, "groups of channels").least(1);
    d.param("qkv_bias", qkv_bias, "q, k and v have biases");
    d.param("block", block, "the whole block of the network");
    d.param("mlp_ratio", mlp_ratio, "inner width of the block's MLP, in channels").least(0);
    d.param("H", H, "height of the map whose rows are the tokens; of the block").least(1).computed("N/W").example(block ? "32" : "null");
    d.param("W", W, "its width; of the block").least(1).computed("N/H");
    d.input("x", x, "B N dim", "tokens");
    cpe[0].describe(d, "cpe.0.proj", "dim 1 3 3", {}, whole);
    norm1.describe(d, "norm1", "dim", whole);
    for (const auto& [prefix, here] : {std::pair<std::string, When>{"", {!block, "block=false"}}, {"attn.", whole}}) {
      qkv.describe(d, prefix + "qkv", "3*dim dim", {qkv_bias, "qkv_bias=true"}, here);
      proj.describe(d, prefix + "proj", "dim dim", {}, here);
    }
    cpe[1].describe(d, "cpe.1.proj", "dim 1 3 3", {}, whole);
    norm2.describe(d, "norm2", "dim", whole);
    fc1.describe(d, "mlp.fc1", hidden + " dim", {}, whole);
    fc2.describe(d, "mlp.fc2", "dim " + hidden, {}, whole);
    d.output("out", out, "B N dim");
    d.output("weights", weights, "B num_heads dim/num_heads dim/num_heads", "of channels").when(!block, "block=false");
  }

  Tensor attention(const Ops& ops, const Tensor& tokens) {
    const auto B = tokens.extent(0), N = tokens.extent(1), C = tokens.extent(2), D = C / num_heads;
    if (C % num_heads) fail("parameter num_heads", "a divisor of " + std::to_string(C), std::to_string(num_heads));
    const Tensor all = qkv.linear(ops, tokens).reshape({B, N, 3, num_heads, D});
    const auto channels = [&](int which) { return all.slice(2, which, 1).reshape({B, N, num_heads, D}).transpose(1, 3); };
    AttendOptions o;
    o.scale = 1 / std::sqrt(float(D));
    const Tensor y = attend_into(ops, channels(1), channels(2), channels(0), o, wants(weights) ? &weights : nullptr);
    return proj.linear(ops, y.transpose(1, 3).reshape({B, N, C}));
  }

  void run(Ops& ops) override {
    if (!block) {
      out = attention(ops, x);
      return;
    }
    const auto N = x.extent(1), h = H ? *H : W ? N / *W : 0, w = W ? *W : h > 0 ? N / h : 0;
    if (h * w != N) fail("parameters H, W", "a map of " + std::to_string(N) + " tokens", std::to_string(h) + " x " + std::to_string(w));
    const auto place = [&](const Tensor& tokens, const Affine& layer) {
      const Tensor map = to_map(tokens, h, w);
      return ops.add(tokens, to_tokens(layer.conv(ops, map, {.padding = {1}, .groups = map.extent(1)})));
    };
    out = place(x, cpe[0]);
    out = place(ops.add(out, attention(ops, norm1(ops, out))), cpe[1]);
    out = ops.add(out, fc2.linear(ops, ops.gelu(fc1.linear(ops, norm2(ops, out)))));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(davit_channel_attention, DavitChannelAttention, "davit-channel-attention", "featuremap", "module", 2,
               "DaViT: Dual Attention Vision Transformers")
