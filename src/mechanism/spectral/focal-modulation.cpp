// SPDX-License-Identifier: Apache-2.0
// Focal modulation (Yang et al., 2022): context gathered by a stack of depthwise convolutions, gated at each level and place,
//   [q, z_0, G] = f x;   z_l = gelu(DW z_{l-1}), l = 1..L;   z_{L+1} = gelu(mean of z_L);   m = h(sum_l G_l z_l),   out = proj(q m).
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct FocalModulation : Mechanism {
  Tensor x, out, gates, modulator;
  std::vector<Tensor> level;
  Affine f, h, proj;
  LayerNorm ln;
  std::optional<std::int64_t> dim;
  std::int64_t focal_window = 3, focal_level = 2, focal_factor = 2;
  bool bias = true, use_postln_in_modulation = false, normalize_modulator = false;

  void describe(Declaration& d) override {
    const When biases{bias, "bias=true"};
    d.param("dim", dim, "channels").computed("C");
    d.param("focal_window", focal_window, "kernel of the first level, odd").least(1);
    d.param("focal_level", focal_level, "L, levels before the global one").least(0).most(1000);
    d.param("focal_factor", focal_factor, "what the kernel grows by, even").least(0);
    d.param("bias", bias, "of f and h");
    d.param("use_postln_in_modulation", use_postln_in_modulation, "layer norm of q m");
    d.param("normalize_modulator", normalize_modulator, "the sum over levels is divided by L + 1");
    d.input("x", x, "B H W dim", "maps, channels last");
    f.describe(d, "f", "2*dim+focal_level+1 dim", biases);
    level.resize(std::size_t(std::max<std::int64_t>(focal_level, 4)));
    for (std::size_t l = 0; l < level.size(); ++l) {
      const std::string kernel = std::to_string(focal_window + focal_factor * std::int64_t(l));
      d.weight("focal_layers." + std::to_string(l) + ".0.weight", level[l], "dim 1 " + kernel + " " + kernel)
          .when(std::int64_t(l) < focal_level, "focal_level>" + std::to_string(l));
    }
    h.describe(d, "h", "dim dim 1 1", biases);
    ln.describe(d, "ln", "dim", {use_postln_in_modulation, "use_postln_in_modulation=true"});
    proj.describe(d, "proj", "dim dim");
    d.output("out", out, "B H W dim");
    d.output("gates", gates, "B focal_level+1 H W");
    d.output("modulator", modulator, "B dim H W");
  }

  void run(Ops& ops) override {
    const auto C = x.extent(3);
    if (focal_window % 2 == 0 || focal_factor % 2)
      fail("parameters focal_window, focal_factor", "odd and even", std::to_string(focal_window) + ", " + std::to_string(focal_factor));
    const auto parts = ops.split(f.linear(ops, x).permute({0, 3, 1, 2}), 1, {C, C, focal_level + 1});
    gates = parts[2];
    Tensor context = parts[1], sum;
    for (std::int64_t l = 0; l <= focal_level; ++l) {
      if (l < focal_level)
        context = ops.gelu(ops.conv(context, level[std::size_t(l)], {}, {.padding = {(focal_window + focal_factor * l) / 2}, .groups = C}));
      else
        context = ops.gelu(ops.mean(context, {2, 3}, true));
      const Tensor term = ops.mul(context, gates.slice(1, l, 1));
      sum = sum.defined() ? ops.add(sum, term) : term;
    }
    if (normalize_modulator) sum = ops.scale(sum, float(1.0 / double(focal_level + 1)));
    modulator = h.conv(ops, sum);
    out = ops.mul(parts[0], modulator).permute({0, 2, 3, 1});
    if (use_postln_in_modulation) out = ln(ops, out);
    out = proj.linear(ops, out);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(focal_modulation, FocalModulation, "focal-modulation", "spectral", "module", 2, "Focal Modulation Networks")
