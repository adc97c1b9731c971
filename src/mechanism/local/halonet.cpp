// SPDX-License-Identifier: Apache-2.0
// HaloNet (Vaswani et al., 2021): queries of a block b x b see the keys of the block with a halo of h around it, win = b + 2h,
//   score = scale q . k + q . height_rel[y_k - y_q + win - 1] + q . width_rel[x_k - x_q + win - 1],   scale = D^-1/2,
// keys counted from the halo's corner, queries inside their block. Keys and values are zero beyond the map and take their share.
#include <cmath>

#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct HaloNet : Mechanism {
  Tensor x, out, height_rel, width_rel;
  Affine q, kv;
  std::optional<std::int64_t> dim, dim_out, dim_head;
  std::int64_t num_heads = 8, stride = 1, block_size = 8, halo_size = 3;
  bool qkv_bias = false, avg_down = false, scale_pos_embed = false;

  void describe(Declaration& d) override {
    const std::string outputs = dim_out ? "dim_out" : "dim", width = dim_head ? "dim_head" : outputs + "//num_heads";
    const When biases{qkv_bias, "qkv_bias=true"};
    d.param("dim", dim, "channels of x").computed("C");
    d.param("dim_out", dim_out, "channels of out").computed("dim");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("dim_head", dim_head, "width of a query").least(1).computed("dim_out/num_heads");
    d.param("stride", stride, "2: half the size").least(1).most(2);
    d.param("block_size", block_size, "b, a divisor of H and W").least(1);
    d.param("halo_size", halo_size, "h, rows and columns around a block").least(0);
    d.param("qkv_bias", qkv_bias, "q, k and v have biases");
    d.param("avg_down", avg_down, "stride 2 by averages of the result in place of fewer queries; always where b is odd");
    d.param("scale_pos_embed", scale_pos_embed, "the scale applies to the relative terms too");
    d.input("x", x, "B dim H W", "maps");
    q.describe(d, "q", "num_heads*" + width + " dim 1 1", biases);
    kv.describe(d, "kv", "num_heads*(" + width + ")+" + outputs + " dim 1 1", biases);
    d.weight("pos_embed.height_rel", height_rel, "2*(block_size+2*halo_size)-1 " + width).init(Init::normal);
    d.weight("pos_embed.width_rel", width_rel, "2*(block_size+2*halo_size)-1 " + width).init(Init::normal);
    d.output("out", out, "B " + outputs + " H//stride W//stride");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), H = x.extent(2), W = x.extent(3), D = height_rel.extent(1), C = kv.weight.extent(0) - num_heads * D;
    if (C % num_heads) fail("parameter num_heads", "a divisor of " + std::to_string(C), std::to_string(num_heads));
    if (H % block_size || W % block_size)
      fail("input x", "a map in multiples of block_size = " + std::to_string(block_size), x.shape().text());
    const bool averaged = stride > 1 && (avg_down || block_size % stride);
    const auto step = averaged ? 1 : stride, b = block_size / step, win = block_size + 2 * halo_size, E = C / num_heads;
    // Queries by blocks, keys and values by overlapping windows: (B * blocks, ..., heads, width).
    const Tensor queries = ops.windows(q.conv(ops, x, {.stride = {step}}).permute({0, 2, 3, 1}), {b});
    const auto all = queries.extent(0);
    const Tensor each_q = queries.reshape({all, b * b, num_heads, D});
    const Tensor windows = ops.unfold(kv.conv(ops, x), {.kernel = {win}, .stride = {block_size}, .padding = {halo_size}});
    const Tensor each_kv = windows.reshape({B, num_heads, D + E, win * win, H / block_size * (W / block_size)})
                               .permute({0, 4, 3, 1, 2})
                               .reshape({all, win * win, num_heads, D + E});
    const Tensor by_place = each_q.permute({0, 2, 1, 3}).reshape({all, num_heads, b, b, D});
    AttendOptions o;
    o.scale = 1 / std::sqrt(float(D));
    Tensor bias = relative_terms(ops, by_place, height_rel, width_rel, win, win);
    if (scale_pos_embed) bias = ops.scale(bias, *o.scale);
    const Tensor y = ops.attend(each_q, each_kv.slice(3, 0, D), each_kv.slice(3, D, E), o, 0, {.bias = bias}).out;
    out = ops.unwindows(y.reshape({all, b * b, C}), {b}, {H / step, W / step}).permute({0, 3, 1, 2});
    if (averaged) out = ops.average_pool(out, {.kernel = {2}});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(halonet, HaloNet, "halonet", "local", "module", 1, "Scaling Local Self-Attention for Parameter Efficient Visual Backbones")
