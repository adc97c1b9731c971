// SPDX-License-Identifier: Apache-2.0
// Squeeze-and-excitation (Hu et al., 2018): out = x sigmoid(W2 relu(W1 mean(x))), the mean over the map, the gate by channel.
// Without biases the matrices are linear layers, with them (as in RCAN) 1x1 convolutions.
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Se : Mechanism {
  Tensor x, gate, out;
  Affine down, up;
  std::optional<std::int64_t> channel;
  std::int64_t reduction = 16;
  bool bias = false;

  void describe(Declaration& d) override {
    d.param("channel", channel, "channels").computed("C");
    d.param("reduction", reduction, "the inner width is channel/reduction").least(1);
    d.param("bias", bias, "1x1 convolutions with biases in place of linear layers without");
    d.input("x", x, "B channel H W", "maps");
    const When with{bias, "bias=true"}, without{!bias, "bias=false"};
    down.describe(d, "fc.0", "channel//reduction channel", never, without);
    up.describe(d, "fc.2", "channel channel//reduction", never, without);
    down.describe(d, "conv_du.0", "channel//reduction channel 1 1", {}, with);
    up.describe(d, "conv_du.2", "channel channel//reduction 1 1", {}, with);
    d.output("out", out, "B channel H W");
    d.output("gate", gate, "B channel");
  }

  void run(Ops& ops) override {
    const auto apply = [&](const Affine& layer, const Tensor& to) {
      return ops.linear(to, layer.weight.reshape({layer.weight.extent(0), layer.weight.extent(1)}), layer.bias);
    };
    gate = ops.sigmoid(apply(up, ops.relu(apply(down, pooled(ops, x)))));
    out = gated(ops, x, gate);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(se, Se, "se", "featuremap", "module", 1, "Squeeze-and-Excitation Networks")
