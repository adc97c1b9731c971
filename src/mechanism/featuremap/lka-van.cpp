// SPDX-License-Identifier: Apache-2.0
// Large kernel attention of the Visual Attention Network (Guo et al., 2022): a kernel of K split into a depthwise one, a dilated
// depthwise one and a 1x1 convolution,
//   LKA(x) = x conv1x1(DW_{ceil(K/d), dilation d}(DW_{2d-1}(x))).
// The block: y = BN1(x);  x += scale_1 (proj_2(LKA(gelu(proj_1 y))) + y);  x += scale_2 fc2(gelu(DW3x3(fc1(BN2 x)))).
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct LkaVan : Mechanism {
  Tensor x, out, attn, scale_1, scale_2;
  Affine conv0, conv_spatial, conv1, proj_1, proj_2, fc1, dwconv, fc2;
  BatchNorm norm1, norm2;
  std::optional<std::int64_t> dim, dw, dwd;
  std::int64_t kernel = 21, dilation = 3;
  double mlp_ratio = 4;
  bool block = false;

  void describe(Declaration& d) override {
    const When whole{block, "block=true"};
    const std::string C = dim ? std::to_string(*dim) : "dim", near = std::to_string(dw.value_or(2 * dilation - 1));
    const std::string far = std::to_string(dwd.value_or((kernel + dilation - 1) / std::max<std::int64_t>(1, dilation))),
                      hidden = "int(" + C + "*mlp_ratio)";
    d.param("dim", dim, "channels").computed("C");
    d.param("kernel", kernel, "K, the kernel that is taken apart").least(1);
    d.param("dilation", dilation, "d").least(1);
    d.param("dw", dw, "kernel of the first convolution").least(1).computed("2*dilation-1");
    d.param("dwd", dwd, "kernel of the dilated convolution").least(1).computed("ceil(kernel/dilation)");
    d.param("block", block, "the whole block of the network");
    d.param("mlp_ratio", mlp_ratio, "inner width of the block's convolutional MLP, in channels").least(0);
    d.input("x", x, "B " + C + " H W", "maps");
    d.weight("layer_scale_1", scale_1, C).when(whole.holds, whole.text);
    d.weight("layer_scale_2", scale_2, C).when(whole.holds, whole.text);
    norm1.describe(d, "norm1", C, whole);
    proj_1.describe(d, "attn.proj_1", C + " " + C + " 1 1", {}, whole);
    for (const auto& [unit, here] : {std::pair<std::string, When>{"", {!block, "block=false"}}, {"attn.spatial_gating_unit.", whole}}) {
      conv0.describe(d, unit + "conv0", C + " 1 " + near + " " + near, {}, here);
      conv_spatial.describe(d, unit + "conv_spatial", C + " 1 " + far + " " + far, {}, here);
      conv1.describe(d, unit + "conv1", C + " " + C + " 1 1", {}, here);
    }
    proj_2.describe(d, "attn.proj_2", C + " " + C + " 1 1", {}, whole);
    norm2.describe(d, "norm2", C, whole);
    fc1.describe(d, "mlp.fc1", hidden + " " + C + " 1 1", {}, whole);
    dwconv.describe(d, "mlp.dwconv.dwconv", hidden + " 1 3 3", {}, whole);
    fc2.describe(d, "mlp.fc2", C + " " + hidden + " 1 1", {}, whole);
    d.output("out", out, "B " + C + " H W");
    d.output("attn", attn, "B " + C + " H W", "the attention branch before its scale").when(whole.holds, whole.text);
  }

  Tensor large_kernel(const Ops& ops, const Tensor& u) const {
    const auto C = u.extent(1), near = conv0.weight.extent(2), far = conv_spatial.weight.extent(2);
    if (near % 2 == 0 || dilation * (far - 1) % 2)
      fail("parameter dw, dwd", "kernels whose reach is odd", std::to_string(near) + ", " + std::to_string(far));
    const Tensor close = conv0.conv(ops, u, {.padding = {near / 2}, .groups = C});
    const Tensor wide = conv_spatial.conv(ops, close, {.padding = {dilation * (far - 1) / 2}, .dilation = {dilation}, .groups = C});
    return ops.mul(u, conv1.conv(ops, wide));
  }

  void run(Ops& ops) override {
    if (!block) {
      out = large_kernel(ops, x);
      return;
    }
    const auto scaled = [&](const Tensor& scale, const Tensor& branch) { return ops.mul(branch, scale.reshape({scale.extent(0), 1, 1})); };
    const Tensor y = norm1(ops, x);
    attn = ops.add(proj_2.conv(ops, large_kernel(ops, ops.gelu(proj_1.conv(ops, y)))), y);
    out = ops.add(x, scaled(scale_1, attn));
    const Tensor hidden = fc1.conv(ops, norm2(ops, out));
    const Tensor mixed = ops.gelu(dwconv.conv(ops, hidden, {.padding = {1}, .groups = hidden.extent(1)}));
    out = ops.add(out, scaled(scale_2, fc2.conv(ops, mixed)));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(lka_van, LkaVan, "lka-van", "featuremap", "module", 1, "Visual Attention Network")
