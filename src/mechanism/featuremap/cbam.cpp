// SPDX-License-Identifier: Apache-2.0
// Convolutional block attention module (Woo et al., 2018): a gate by channel, then one by place.
//   channel_gate = sigmoid(sum over pools of W2 relu(W1 pool(x) + b1) + b2),   y = x channel_gate
//   spatial_gate = sigmoid(BN(conv7x7([max_c y, mean_c y]))),                  out = y spatial_gate
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Cbam : Mechanism {
  Tensor x, out, channel_gate, spatial_gate;
  Affine down, up, conv;
  BatchNorm norm;
  std::optional<std::int64_t> gate_channels;
  std::int64_t reduction_ratio = 16;
  std::vector<std::string> pool_types{"avg", "max"};
  bool no_spatial = false;

  void describe(Declaration& d) override {
    const When spatial{!no_spatial, "no_spatial=false"};
    d.param("gate_channels", gate_channels, "channels").computed("C");
    d.param("reduction_ratio", reduction_ratio, "the inner width is gate_channels/reduction_ratio").least(1);
    d.param("pool_types", pool_types, "what is known of a channel: avg, max, lp (root of the sum of squares), lse (log-sum-exp)")
        .one_of({"avg", "max", "lp", "lse"});
    d.param("no_spatial", no_spatial, "no gate by place");
    d.input("x", x, "B gate_channels H W", "maps");
    down.describe(d, "ChannelGate.mlp.1", "gate_channels//reduction_ratio gate_channels");
    up.describe(d, "ChannelGate.mlp.3", "gate_channels gate_channels//reduction_ratio");
    conv.describe(d, "SpatialGate.spatial.conv", "1 2 7 7", never, spatial);
    norm.describe(d, "SpatialGate.spatial.bn", "1", spatial);
    d.output("out", out, "B gate_channels H W");
    d.output("channel_gate", channel_gate, "B gate_channels");
    d.output("spatial_gate", spatial_gate, "B 1 H W").when(spatial.holds, spatial.text);
  }

  Tensor pool(const Ops& ops, const std::string& type) const {
    if (type == "avg") return pooled(ops, x);
    if (type == "max") return ops.max(x, {2, 3});
    if (type == "lp") return ops.sqrt(ops.sum(ops.square(x), {2, 3}));
    return ops.logsumexp(x.reshape({x.extent(0), x.extent(1), x.extent(2) * x.extent(3)}), 2);
  }

  void run(Ops& ops) override {
    if (pool_types.empty()) fail("parameter pool_types", "one or more of avg, max, lp, lse", "none");
    Tensor sum;
    for (const auto& type : pool_types) {
      const Tensor seen = up.linear(ops, ops.relu(down.linear(ops, pool(ops, type))));
      sum = sum.defined() ? ops.add(sum, seen) : seen;
    }
    channel_gate = ops.sigmoid(sum);
    out = gated(ops, x, channel_gate);
    if (no_spatial) return;
    spatial_gate = ops.sigmoid(norm(ops, conv.conv(ops, largest_and_mean(ops, out), {.padding = {3}})));
    out = ops.mul(out, spatial_gate);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(cbam, Cbam, "cbam", "featuremap", "module", 1, "CBAM: Convolutional Block Attention Module")
