// SPDX-License-Identifier: Apache-2.0
// Attention module of the Residual Attention Network (Wang et al., 2017): out = last((1 + M) T), T = two units of X = first(x), M a
// mask from units at lower and lower resolution (max pooling 3x3, stride 2), brought up again by bilinear interpolation:
//   pre (the paper):  q1 = s1(pool X), q2 = s2(pool q1), q3 = s3(pool q2) twice;  a = s4(up q3 + skip2 q2);
//                     b = s5(up a + skip1 q1);  M = sigmoid(head(up b))
//   stage2:           q1 = s1(pool X), q2 = s2(pool q1) twice;  u = s3(up q2 + q1 + skip1 q1);  M = sigmoid(head(up u + T))
// A unit is x + conv1x1 conv3x3 conv1x1 with batch norm and ReLU before each; a head is twice batch norm, ReLU, conv1x1.
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Unit {
  BatchNorm bn[3];
  Affine conv[3];
  Tensor unused;

  void describe(Declaration& d, const std::string& name, const When& present = {}) {
    const std::string shapes[3] = {"in_channels//4 in_channels 1 1", "in_channels//4 in_channels//4 3 3", "in_channels in_channels//4 1 1"};
    for (std::size_t i = 0; i < 3; ++i) {
      bn[i].describe(d, name + ".bn" + std::to_string(i + 1), i ? "in_channels//4" : "in_channels", present);
      conv[i].describe(d, name + ".conv" + std::to_string(i + 1), shapes[i], never, present);
    }
    d.weight(name + ".conv4.weight", unused, "in_channels in_channels 1 1", "of units that change the width; not used")
        .optional()
        .no_gradient()
        .when(present.holds, present.text);
  }
  Tensor operator()(const Ops& ops, const Tensor& x) const {
    Tensor y = x;
    for (std::size_t i = 0; i < 3; ++i) y = conv[i].conv(ops, ops.relu(bn[i](ops, y)), {.padding = {i == 1 ? 1 : 0}});
    return ops.add(x, y);
  }
};

struct ResidualAttentionNetwork : Mechanism {
  Tensor x, out, mask, trunk;
  Unit first, last, trunk_units[2], s1, s2[2], s3[2], s4, s5, skip1, skip2;
  BatchNorm head_norm[2];
  Affine head_conv[2];
  std::string module = "AttentionModule_stage2", activation = "mixed";
  std::optional<std::int64_t> in_channels, out_channels;
  std::optional<std::vector<std::int64_t>> size1, size2, size3;

  void describe(Declaration& d) override {
    const bool stage2 = module == "AttentionModule_stage2";
    const When pre{!stage2, "module=AttentionModule_pre"};
    d.param("module", module, "the module with one skip connection, or the paper's with two")
        .one_of({"AttentionModule_stage2", "AttentionModule_pre"});
    d.param("in_channels", in_channels, "channels").computed("C");
    d.param("out_channels", out_channels, "the same").computed("C");
    d.param("size1", size1, "[height, width] of the mask").computed("[H, W]");
    d.param("size2", size2, "of the level below").computed("that of q1");
    d.param("size3", size3, "of the level below that").computed("that of q2");
    d.param("activation", activation, "of the mask: sigmoid; divided by the norm over channels; sigmoid of what is normalised over places")
        .one_of({"mixed", "channel", "spatial"});
    d.input("x", x, "B in_channels H W", "maps");
    first.describe(d, "first_residual_blocks");
    for (std::size_t i = 0; i < 2; ++i) trunk_units[i].describe(d, "trunk_branches." + std::to_string(i));
    s1.describe(d, "softmax1_blocks");
    skip1.describe(d, "skip1_connection_residual_block");
    const When short_one{stage2, "module=AttentionModule_stage2"};
    for (std::size_t i = 0; i < 2; ++i) s2[i].describe(d, "softmax2_blocks." + std::to_string(i), short_one);
    s3[0].describe(d, "softmax3_blocks", short_one);
    s2[0].describe(d, "softmax2_blocks", pre);
    for (std::size_t i = 0; i < 2; ++i) s3[i].describe(d, "softmax3_blocks." + std::to_string(i), pre);
    skip2.describe(d, "skip2_connection_residual_block", pre);
    s4.describe(d, "softmax4_blocks", pre);
    s5.describe(d, "softmax5_blocks", pre);
    for (const auto& [head, here] : {std::pair<std::string, When>{"softmax4_blocks.", short_one}, {"softmax6_blocks.", pre}})
      for (std::size_t i = 0; i < 2; ++i) {
        head_norm[i].describe(d, head + (i ? "3" : "0"), "in_channels", here);
        head_conv[i].describe(d, head + (i ? "5" : "2"), "in_channels in_channels 1 1", never, here);
      }
    last.describe(d, "last_blocks");
    d.output("out", out, "B in_channels H W");
    d.output("mask", mask, "B in_channels H W");
    d.output("trunk", trunk, "B in_channels H W");
  }

  Tensor activate(const Ops& ops, const Tensor& m) const {
    if (activation == "mixed") return ops.sigmoid(m);
    if (activation == "channel") return ops.div(m, ops.sqrt(ops.sum(ops.square(m), {1}, true)));
    return ops.sigmoid(ops.instance_norm(m));
  }

  void run(Ops& ops) override {
    if (in_channels.value_or(x.extent(1)) != out_channels.value_or(x.extent(1)))
      fail("parameter out_channels", "in_channels", std::to_string(*out_channels));
    const auto pool = [&](const Tensor& m) { return ops.max_pool(m, {.kernel = {3}, .stride = {2}, .padding = {1}}); };
    const auto up = [&](const Tensor& m, const std::optional<std::vector<std::int64_t>>& size, const Tensor& like) {
      const std::vector<std::int64_t> to{like.extent(2), like.extent(3)};
      if (size && *size != to) fail("parameter size1, size2, size3", Shape(to).text(), Shape(*size).text());
      return ops.resize(m, to, Resample::linear, true);
    };
    const Tensor start = first(ops, x);
    trunk = trunk_units[1](ops, trunk_units[0](ops, start));
    const Tensor q1 = s1(ops, pool(start));
    if (module == "AttentionModule_stage2") {
      const Tensor q2 = s2[1](ops, s2[0](ops, pool(q1)));
      const Tensor u = s3[0](ops, ops.add(ops.add(up(q2, size2, q1), q1), skip1(ops, q1)));
      mask = ops.add(up(u, size1, trunk), trunk);
    } else {
      const Tensor q2 = s2[0](ops, pool(q1)), q3 = s3[1](ops, s3[0](ops, pool(q2)));
      const Tensor a = s4(ops, ops.add(up(q3, size3, q2), skip2(ops, q2)));
      const Tensor b = s5(ops, ops.add(up(a, size2, q1), skip1(ops, q1)));
      mask = up(b, size1, trunk);
    }
    for (std::size_t i = 0; i < 2; ++i) mask = head_conv[i].conv(ops, ops.relu(head_norm[i](ops, mask)));
    mask = activate(ops, mask);
    out = last(ops, ops.mul(ops.shift(mask, 1), trunk));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(residual_attention_network, ResidualAttentionNetwork, "residual-attention-network", "featuremap", "block", 2,
               "Residual Attention Network for Image Classification")
