// SPDX-License-Identifier: Apache-2.0
// Bi-level routing attention of BiFormer (Zhu et al., 2023): a map is cut into n_win x n_win regions; a region chooses the topk regions
// whose mean key fits its mean query, and its tokens attend to theirs; a depthwise convolution of the values is added.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct BiformerBra : Mechanism {
  Tensor x, qkv_w, qkv_b, wo_w, wo_b, lepe_w, lepe_b, out, indices, routing_weights;
  std::optional<std::int64_t> dim, qk_dim;
  std::int64_t num_heads = 8, n_win = 7, topk = 4, side_dwconv = 3;
  bool soft_routing = false;
  std::string layout = "nhwc";

  void describe(Declaration& d) override {
    const bool last = layout == "nhwc";
    d.param("dim", dim, "C").least(1).computed("from x");
    d.param("num_heads", num_heads, "consecutive slices of the channels").least(1);
    d.param("n_win", n_win, "regions a side").least(1);
    d.param("qk_dim", qk_dim, "channels of queries and keys (nhwc)").least(1).computed("dim");
    d.param("topk", topk, "regions a region reads").least(1);
    d.param("side_dwconv", side_dwconv, "side of the convolution; 0: none").least(0);
    d.param("soft_routing", soft_routing, "keys and values are weighted by the softmax of their regions' affinities (nhwc)");
    d.param("layout", layout, "where the channels are").one_of({"nhwc", "nchw"});
    d.input("x", x, last ? "B H W C" : "B C H W", "a map; H and W are multiples of n_win");
    const std::string width = qk_dim ? "qk_dim" : "C";
    d.weight("qkv.qkv.weight", qkv_w, "2*" + width + "+C C").when(last, "layout=nhwc");
    d.weight("qkv.qkv.bias", qkv_b, "2*" + width + "+C").when(last, "layout=nhwc");
    d.weight("wo.weight", wo_w, "C C").when(last, "layout=nhwc");
    d.weight("wo.bias", wo_b, "C").when(last, "layout=nhwc");
    d.weight("qkv_linear.weight", qkv_w, "3*C C 1 1").when(!last, "layout=nchw");
    d.weight("qkv_linear.bias", qkv_b, "3*C").when(!last, "layout=nchw");
    d.weight("output_linear.weight", wo_w, "C C 1 1").when(!last, "layout=nchw");
    d.weight("output_linear.bias", wo_b, "C").when(!last, "layout=nchw");
    d.weight("lepe.weight", lepe_w, "C 1 side_dwconv side_dwconv").when(side_dwconv > 0, "side_dwconv");
    d.weight("lepe.bias", lepe_b, "C").when(side_dwconv > 0, "side_dwconv");
    if (dim) d.size("C", "dim");
    d.size("H", "max(H//n_win,1)*n_win");
    d.size("W", "max(W//n_win,1)*n_win");
    d.output("out", out, last ? "B H W C" : "B C H W");
    d.output("indices", indices, "B n_win*n_win topk", "regions read, the best first").of(DType::i64);
    d.output("routing_weights", routing_weights, "B n_win*n_win topk", "softmax of their affinities").when(last, "layout=nhwc");
  }

  /// (B, H, W, c) as regions of tokens, (B, n_win^2, tokens, c), and back.
  Tensor regions(const Tensor& t) const {
    const auto B = t.extent(0), h = t.extent(1) / n_win, w = t.extent(2) / n_win, c = t.extent(3);
    return t.reshape({B, n_win, h, n_win, w, c}).permute({0, 1, 3, 2, 4, 5}).reshape({B, n_win * n_win, h * w, c});
  }
  Tensor whole(const Tensor& t, std::int64_t H, std::int64_t W) const {
    const auto B = x.extent(0), c = t.extent(-1);
    return t.reshape({B, n_win, n_win, H / n_win, W / n_win, c}).permute({0, 1, 3, 2, 4, 5}).reshape({B, H, W, c});
  }

  void run(Ops& ops) override {
    const bool last = layout == "nhwc";
    const Tensor map = last ? x : x.permute({0, 2, 3, 1});
    const auto B = map.extent(0), H = map.extent(1), W = map.extent(2), C = map.extent(3), P = n_win * n_win,
               Q = last ? qk_dim.value_or(C) : C;
    if (H % n_win || W % n_win || H == 0 || W == 0)
      fail("input x", "H and W that " + std::to_string(n_win) + " regions a side divide", std::to_string(H) + ", " + std::to_string(W));
    if (Q % num_heads || C % num_heads)
      fail("parameter num_heads", "a divisor of " + std::to_string(Q) + " and " + std::to_string(C), std::to_string(num_heads));
    if (topk > P) fail("parameter topk", "at most " + std::to_string(P) + " regions", std::to_string(topk));

    const auto parts = ops.split(ops.linear(map, qkv_w.reshape({2 * Q + C, C}), qkv_b), 3, {Q, Q, C});
    const Tensor q = regions(parts[0]), k = regions(parts[1]), v = regions(parts[2]);
    const auto tokens = q.extent(2);
    const float scale = 1 / std::sqrt(float(Q));
    const auto region = [&](const Tensor& t) { return ops.mean(ops.no_gradient(t, "choice of regions"), {2}); };
    const auto [affinity, best] = ops.topk(ops.scale(ops.matmul(region(q), region(k).transpose(1, 2)), scale), topk, 2);
    indices = best;
    routing_weights = ops.softmax(affinity, 2);

    const Tensor rows(DType::i64, {B * P * topk}), chosen = best.dense();
    for (std::int64_t n = 0; n < rows.count(); ++n) rows.data<std::int64_t>()[n] = n / (P * topk) * P + chosen.data<std::int64_t>()[n];
    const auto gather = [&](const Tensor& t) {
      Tensor got = ops.index_select(t.reshape({B * P, tokens * t.extent(3)}), 0, rows);
      if (soft_routing && last) got = ops.mul(got, routing_weights.reshape({B * P * topk, 1}));
      return got.reshape({B * P, topk * tokens, num_heads, t.extent(3) / num_heads});
    };
    AttendOptions o;
    o.scale = scale;
    const Tensor read = ops.attend(q.reshape({B * P, tokens, num_heads, Q / num_heads}), gather(k), gather(v), o).out;
    Tensor mixed = whole(join_heads(read), H, W);
    if (side_dwconv > 0) {
      ConvOptions depthwise;
      depthwise.groups = C;
      depthwise.padding = {side_dwconv / 2};
      mixed = ops.add(mixed, ops.conv(parts[2].permute({0, 3, 1, 2}), lepe_w, lepe_b, depthwise).permute({0, 2, 3, 1}));
    }
    out = ops.linear(mixed, wo_w.reshape({C, C}), wo_b);
    if (!last) out = out.permute({0, 3, 1, 2});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(biformer_bra, BiformerBra, "biformer-bra", "sparse", "module", 1,
               "BiFormer: Vision Transformer with Bi-Level Routing Attention")
