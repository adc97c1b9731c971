// SPDX-License-Identifier: Apache-2.0
// Efficient channel attention (Wang et al., 2020): the means of the channels pass a 1-D convolution along the channel axis,
//   out = x sigmoid(conv_k(mean(x))).
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Eca : Mechanism {
  Tensor x, weight, gate, out;
  std::optional<std::int64_t> channel;
  std::int64_t k_size = 3;

  void describe(Declaration& d) override {
    d.param("channel", channel, "channels").computed("C");
    d.param("k_size", k_size, "neighbouring channels that a gate sees, odd").least(1);
    d.input("x", x, "B channel H W", "maps");
    d.weight("conv.weight", weight, "1 1 k_size");
    d.output("out", out, "B channel H W");
    d.output("gate", gate, "B channel");
  }

  void run(Ops& ops) override {
    if (k_size % 2 == 0) fail("parameter k_size", "an odd number", std::to_string(k_size));
    const Tensor means = pooled(ops, x);
    const Tensor mixed = ops.conv(means.reshape({x.extent(0), 1, x.extent(1)}), weight, {}, {.padding = {k_size / 2}});
    gate = ops.sigmoid(mixed.reshape(means.shape()));
    out = gated(ops, x, gate);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(eca, Eca, "eca", "featuremap", "module", 1, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks")
