// SPDX-License-Identifier: Apache-2.0
// Triplet attention (Misra et al., 2021): gate(z) = z sigmoid(BN(conv([max, mean] over axis 1 of z))) on x as it stands, with C and
// H exchanged, and with C and W exchanged; out is the mean of the three.
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
  Tensor operator()(const Ops& ops, const Tensor& z) const {
    const auto k = conv.weight.extent(2);
    return ops.mul(z, ops.sigmoid(norm(ops, conv.conv(ops, largest_and_mean(ops, z), {.padding = {(k - 1) / 2}}))));
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
    branch_h = over_h(ops, x.transpose(1, 2)).transpose(1, 2);
    branch_w = over_w(ops, x.transpose(1, 3)).transpose(1, 3);
    out = ops.add(branch_h, branch_w);
    out = no_spatial ? ops.scale(out, 0.5f) : ops.scale(ops.add(out, spatial(ops, x)), float(1.0 / 3));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(triplet_attention, TripletAttention, "triplet-attention", "featuremap", "module", 2,
               "Rotate to Attend: Convolutional Triplet Attention Module")
