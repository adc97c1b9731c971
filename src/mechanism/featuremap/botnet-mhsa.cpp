// SPDX-License-Identifier: Apache-2.0
// Self-attention over all places of a map (BoTNet, Srinivas et al., 2021), q, k, v by a 1x1 convolution:
//   score_ij = D^-1/2 q_i . (k_j + r_ij),   r_ij = rel_height[y_j - y_i] + rel_width[x_j - x_i]   or   height[y_j] + width[x_j].
#include <cmath>

#include "mechanism/heads.h"
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct BotnetMhsa : Mechanism {
  Tensor x, out, weights, to_qkv, height, width;
  std::optional<std::int64_t> dim;
  std::optional<std::vector<std::int64_t>> fmap_size;
  std::int64_t heads = 4, dim_head = 128;
  bool rel_pos_emb = false;

  void describe(Declaration& d) override {
    d.param("dim", dim, "channels of x").computed("C");
    d.param("fmap_size", fmap_size, "[H, W] of the tables").computed("[H, W]");
    d.param("heads", heads, "heads").least(1);
    d.param("dim_head", dim_head, "width of a head").least(1);
    d.param("rel_pos_emb", rel_pos_emb, "relative positions in place of absolute ones");
    d.input("x", x, "B dim H W", "maps");
    d.weight("to_qkv.weight", to_qkv, "3*heads*dim_head dim 1 1");
    d.weight("pos_emb.height", height, "H dim_head").when(!rel_pos_emb, "rel_pos_emb=false");
    d.weight("pos_emb.width", width, "W dim_head").when(!rel_pos_emb, "rel_pos_emb=false");
    d.weight("pos_emb.rel_height", height, "2*H-1 dim_head").when(rel_pos_emb, "rel_pos_emb=true");
    d.weight("pos_emb.rel_width", width, "2*W-1 dim_head").when(rel_pos_emb, "rel_pos_emb=true");
    d.output("out", out, "B heads*dim_head H W");
    d.output("weights", weights, "B heads H*W H*W");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), H = x.extent(2), W = x.extent(3), N = H * W;
    if (fmap_size && *fmap_size != std::vector<std::int64_t>{H, W} && *fmap_size != std::vector<std::int64_t>{H == W ? H : -1})
      fail("parameter fmap_size", "[" + std::to_string(H) + ", " + std::to_string(W) + "]", "another");
    const Tensor all = ops.conv(x, to_qkv).reshape({B, 3, heads, dim_head, N});
    const auto part = [&](int which) { return all.slice(1, which, 1).reshape({B, heads, dim_head, N}).permute({0, 3, 1, 2}); };
    const Tensor q = ops.scale(part(0), 1 / std::sqrt(float(dim_head)));
    Tensor k = part(1), bias;
    if (rel_pos_emb) {
      bias = relative_terms(ops, q.permute({0, 2, 1, 3}).reshape({B, heads, H, W, dim_head}), height, width, H, W);
    } else {
      const Tensor places = ops.add(height.reshape({H, 1, dim_head}), width.reshape({1, W, dim_head}));
      k = ops.add(k, places.reshape({1, N, 1, dim_head}));
    }
    AttendOptions o;
    o.scale = 1;
    const Tensor y = attend_into(ops, q, k, part(2), o, wants(weights) ? &weights : nullptr, {.bias = bias});
    out = y.permute({0, 2, 3, 1}).reshape({B, heads * dim_head, H, W});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(botnet_mhsa, BotnetMhsa, "botnet-mhsa", "featuremap", "module", 2, "Bottleneck Transformers for Visual Recognition")
