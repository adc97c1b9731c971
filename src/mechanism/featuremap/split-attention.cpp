// SPDX-License-Identifier: Apache-2.0
// Split attention (ResNeSt, Zhang et al., 2020): a convolution gives R = radix versions U_r of the map, of G groups each;
//   g = mean over places of sum_r U_r,   a = fc2 relu(BN(fc1 g)),   out = sum_r softmax_r(a)_r U_r   (sigmoid if R = 1).
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct SplitAttention : Mechanism {
  Tensor x, out, weights;
  Affine conv, fc1, fc2;
  BatchNorm bn0, bn1;
  std::int64_t groups = 1, radix = 2, reduction_factor = 4;
  std::optional<std::int64_t> in_channels, channels;
  std::vector<std::int64_t> kernel_size{3}, stride{1}, padding{0}, dilation{1};
  std::optional<std::string> norm = "batch";
  bool bias = true;

  void describe(Declaration& d) override {
    const When normed{norm.has_value(), "norm=batch"};
    d.param("in_channels", in_channels, "channels of x").computed("C");
    d.param("channels", channels, "channels of out").computed("in_channels");
    d.param("kernel_size", kernel_size, "of the convolution").least(1);
    d.param("stride", stride, "of the convolution").least(1);
    d.param("padding", padding, "of the convolution").least(0);
    d.param("dilation", dilation, "of the convolution").least(1);
    d.param("groups", groups, "G, groups of channels with gates of their own").least(1);
    d.param("radix", radix, "R, versions of the map").least(1);
    d.param("reduction_factor", reduction_factor, "the inner width is max(in_channels*radix/reduction_factor, 32)").least(1);
    d.param("norm", norm, "batch norms after the convolution and inside; null: none").one_of({"batch"});
    d.param("bias", bias, "of the convolution");
    const std::string C = channels ? std::to_string(*channels) : "in_channels", K = extent(kernel_size, 0) + " " + extent(kernel_size, 1);
    const std::string inner = "max(in_channels*radix//reduction_factor,32)";
    d.input("x", x, "B in_channels H W", "maps");
    conv.describe(d, "conv", C + "*radix in_channels//(groups*radix) " + K, {bias, "bias=true"});
    bn0.describe(d, "bn0", C + "*radix", normed);
    fc1.describe(d, "fc1", inner + " " + C + "//groups 1 1");
    bn1.describe(d, "bn1", inner, normed);
    fc2.describe(d, "fc2", C + "*radix " + inner + "//groups 1 1");
    d.output("out", out, "B " + C + " HO WO");
    d.output("weights", weights, "B radix " + C, "share of each version");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), C = conv.weight.extent(0) / radix, R = radix, G = groups;
    Tensor u = conv.conv(ops, x, {.stride = stride, .padding = padding, .dilation = dilation, .groups = G * R});
    u = ops.relu(norm ? bn0(ops, u) : u);
    const Tensor versions = u.reshape({B, R, C, u.extent(2), u.extent(3)});
    Tensor gap = ops.mean(ops.sum(versions, {1}), {2, 3}, true);
    gap = fc1.conv(ops, gap, {.groups = G});
    gap = ops.relu(norm ? bn1(ops, gap) : gap);
    const Tensor a = fc2.conv(ops, gap, {.groups = G}).reshape({B, G, R, C / G});
    const Tensor share = R == 1 ? ops.sigmoid(a) : ops.softmax(a, 2);
    weights = share.transpose(1, 2).reshape({B, R, C});
    out = ops.sum(ops.mul(versions, weights.reshape({B, R, C, 1, 1})), {1});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(split_attention, SplitAttention, "split-attention", "featuremap", "module", 1, "ResNeSt: Split-Attention Networks")
