// SPDX-License-Identifier: Apache-2.0
// U-GAT-IT (Kim et al., 2020). AdaLIN mixes two norms, gamma (rho IN(x) + (1 - rho) LN(x)) + beta, variances with divisor n - 1;
// the block is x + AdaLIN2(conv(relu(AdaLIN1(conv x)))), reflecting edges. CAM attention weighs channels by two classifiers:
//   cam_logit = [w_gap . mean(x), w_gmp . max(x)],  out = relu(conv1x1([x w_gap; x w_gmp])),  heatmap = sum_c out,
//   t = relu(FC.2 relu(FC.0 mean(out))),  gamma = W_gamma t,  beta = W_beta t.
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

const char* const cam_module = "CAM attention (ResnetGenerator, light=True)";

struct UGatIt : Mechanism {
  Tensor x, gamma, beta, out, adalin, cam_logit, heatmap, gamma_out, beta_out;
  Tensor conv1, conv2, rho1, rho2, gap, gmp, fc0, fc2, to_gamma, to_beta;
  Affine conv1x1;
  std::string module = "ResnetAdaILNBlock";
  std::optional<std::int64_t> dim, channels;
  double eps = 1e-5;

  void describe(Declaration& d) override {
    const When block{module == "ResnetAdaILNBlock", "module=ResnetAdaILNBlock"}, cam{!block.holds, "module=" + std::string(cam_module)};
    d.param("module", module, "the residual block with AdaLIN, or the attention").one_of({"ResnetAdaILNBlock", cam_module});
    d.param("dim", dim, "channels, of the block").computed("C");
    d.param("channels", channels, "channels, of the attention").computed("C");
    d.param("eps", eps, "added to variances").least(0);
    const std::string C = block.holds ? "dim" : "channels";
    d.input("x", x, "B " + C + " H W", "maps");
    d.input("gamma", gamma, "B dim", "scale of both norms").when(block.holds, block.text);
    d.input("beta", beta, "B dim", "offset of both norms").when(block.holds, block.text);
    d.weight("conv1.weight", conv1, "dim dim 3 3").when(block.holds, block.text);
    d.weight("norm1.rho", rho1, "1 dim 1 1").init(Init::ones).when(block.holds, block.text);
    d.weight("conv2.weight", conv2, "dim dim 3 3").when(block.holds, block.text);
    d.weight("norm2.rho", rho2, "1 dim 1 1").init(Init::ones).when(block.holds, block.text);
    d.weight("gap_fc.weight", gap, "1 channels").when(cam.holds, cam.text);
    d.weight("gmp_fc.weight", gmp, "1 channels").when(cam.holds, cam.text);
    conv1x1.describe(d, "conv1x1", "channels 2*channels 1 1", {}, cam);
    d.weight("FC.0.weight", fc0, "channels channels").when(cam.holds, cam.text);
    d.weight("FC.2.weight", fc2, "channels channels").when(cam.holds, cam.text);
    d.weight("gamma.weight", to_gamma, "channels channels").when(cam.holds, cam.text);
    d.weight("beta.weight", to_beta, "channels channels").when(cam.holds, cam.text);
    d.output("out", out, "B " + C + " H W");
    d.output("adalin", adalin, "B dim H W", "the first norm applied to x itself").when(block.holds, block.text);
    d.output("cam_logit", cam_logit, "B 2").when(cam.holds, cam.text);
    d.output("heatmap", heatmap, "B 1 H W").when(cam.holds, cam.text);
    d.output("gamma", gamma_out, "B channels").when(cam.holds, cam.text);
    d.output("beta", beta_out, "B channels").when(cam.holds, cam.text);
  }

  Tensor normalised(const Ops& ops, const Tensor& m, const std::vector<int>& axes, std::int64_t n) const {
    if (n < 2) fail("input x", "two values or more", m.shape().text());
    const Tensor off = ops.sub(m, ops.mean(m, axes, true));
    const Tensor variance = ops.scale(ops.sum(ops.square(off), axes, true), float(1.0 / double(n - 1)));
    return ops.mul(off, ops.rsqrt(ops.shift(variance, float(eps))));
  }
  Tensor ada_lin(const Ops& ops, const Tensor& m, const Tensor& rho) const {
    const auto places = m.extent(2) * m.extent(3);
    const Tensor one = normalised(ops, m, {2, 3}, places), all = normalised(ops, m, {1, 2, 3}, m.extent(1) * places);
    const Tensor mixed = ops.add(ops.mul(rho, one), ops.mul(ops.shift(ops.neg(rho), 1), all));
    const Shape each{m.extent(0), m.extent(1), 1, 1};
    return ops.add(ops.mul(gamma.reshape(each), mixed), beta.reshape(each));
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), C = x.extent(1);
    if (module == "ResnetAdaILNBlock") {
      const ConvOptions reflecting{.padding = {1}, .padding_mode = PadMode::reflect};
      if (wants(adalin)) adalin = ada_lin(ops, x, rho1);
      const Tensor inner = ops.relu(ada_lin(ops, ops.conv(x, conv1, {}, reflecting), rho1));
      out = ops.add(x, ada_lin(ops, ops.conv(inner, conv2, {}, reflecting), rho2));
      return;
    }
    cam_logit = ops.concat({ops.linear(pooled(ops, x), gap), ops.linear(ops.max(x, {2, 3}), gmp)}, 1);
    const auto weighed = [&](const Tensor& by) { return ops.mul(x, by.reshape({1, C, 1, 1})); };
    out = ops.relu(conv1x1.conv(ops, ops.concat({weighed(gap), weighed(gmp)}, 1)));
    heatmap = ops.sum(out, {1}, true);
    const Tensor t = ops.relu(ops.linear(ops.relu(ops.linear(pooled(ops, out), fc0)), fc2));
    gamma_out = ops.linear(t, to_gamma).reshape({B, C});
    beta_out = ops.linear(t, to_beta).reshape({B, C});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(
    u_gat_it, UGatIt, "u-gat-it", "featuremap", "module", 2,
    "U-GAT-IT: Unsupervised Generative Attentional Networks with Adaptive Layer-Instance Normalization for Image-to-Image Translation")
