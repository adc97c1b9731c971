// SPDX-License-Identifier: Apache-2.0
// Triplet attention (Misra et al., 2021): x times sigmoid(BN(conv([max, mean] over an axis))) for each of the axes H, W and C; out is
// the mean of the three. Each convolution runs over the two axes that are left: (C, W), (H, C), (H, W).
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Gate {
  Affine conv;
  BatchNorm norm;

  void describe(Declaration& d, const std::string& name, const When& present = {}) {
    conv.describe(d, name + ".spatial.conv", "1 2 kernel_size kernel_size", never, present);
    norm.describe(d, name + ".spatial.bn", "1", present);
  }
  /// The gate that axis `over` of x shares: of x's shape with extent 1 there.
  Tensor operator()(const Ops& ops, const Tensor& x, int over) const {
    const Tensor seen = ops.concat({ops.max(x, {over}, true), ops.mean(x, {over}, true)}, over).transpose(1, over);
    const auto k = conv.weight.extent(2);
    return ops.sigmoid(norm(ops, conv.conv(ops, seen, {.padding = {(k - 1) / 2}}))).transpose(1, over);
  }
};

struct TripletAttention : Mechanism {
  Tensor x, out, branch_h, branch_w;
  Gate over_h, over_w, spatial;
  std::int64_t kernel_size = 7;
  bool no_spatial = false;

  void describe(Declaration& d) override {
    d.param("no_spatial", no_spatial, "the two exchanged branches alone");
    d.param("kernel_size", kernel_size, "of the gates' convolutions, odd").least(1);
    d.input("x", x, "B C H W", "maps");
    over_h.describe(d, "ChannelGateH");
    over_w.describe(d, "ChannelGateW");
    spatial.describe(d, "SpatialGate", {!no_spatial, "no_spatial=false"});
    d.output("out", out, "B C H W");
    d.output("branch_h", branch_h, "B C H W", "gated over (C, W)");
    d.output("branch_w", branch_w, "B C H W", "gated over (H, C)");
  }

  void run(Ops& ops) override {
    if (kernel_size % 2 == 0) fail("parameter kernel_size", "an odd number", std::to_string(kernel_size));
    // The mean of x times each gate is x times the mean of the gates, which are small until they meet.
    const float share = no_spatial ? 0.5f : float(1.0 / 3);
    const Tensor h = over_h(ops, x, 2), w = over_w(ops, x, 3);
    Tensor gates = ops.add(ops.scale(h, share), ops.scale(w, share));
    if (!no_spatial) gates = ops.add(gates, ops.scale(spatial(ops, x, 1), share));
    out = ops.mul(x, gates);
    if (wants(branch_h)) branch_h = ops.mul(x, h);
    if (wants(branch_w)) branch_w = ops.mul(x, w);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(triplet_attention, TripletAttention, "triplet-attention", "featuremap", "module", 2,
               "Rotate to Attend: Convolutional Triplet Attention Module")
