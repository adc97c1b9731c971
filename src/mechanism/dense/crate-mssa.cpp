// SPDX-License-Identifier: Apache-2.0
// CRATE (Yu et al., 2023): attention whose queries, keys and values are one projection, then a step of sparse coding.
//   MSSA(x): w = U x, softmax(w w^T / sqrt(d)) w a head, to_out
//   a layer (depth given): z = x + MSSA(LN x),  t = LN z,  x = relu(t + eta D^T (t - D t) - eta lambda)
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct CrateMssa : Mechanism {
  struct Layer {
    Tensor norm, norm_bias, u, wo, bo, ista_norm, ista_norm_bias, dictionary;
  };
  Tensor x, out, after_attn_0, layer_0;
  Layer alone;
  std::vector<Layer> layers;
  std::optional<std::int64_t> dim, depth;
  std::int64_t heads = 8, dim_head = 64;
  double step_size = 0.1, lambd = 0.1, ln_eps = 1e-5;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("heads", heads, "heads").least(1);
    d.param("dim_head", dim_head, "width of a head").least(1);
    d.param("depth", depth, "layers; without it MSSA alone").least(1).most(1000);
    d.param("step_size", step_size, "eta");
    d.param("lambd", lambd, "lambda, the threshold of the code");
    d.param("ln_eps", ln_eps, "of the layer norms").least(0);
    d.input("x", x, "B N dim", "tokens");
    const auto attention = [&](Layer& l, const std::string& name) {
      d.weight(name + "qkv.weight", l.u, "heads*dim_head dim");
      for (auto* entry : {&d.weight(name + "to_out.0.weight", l.wo, "dim heads*dim_head"), &d.weight(name + "to_out.0.bias", l.bo, "dim")})
        if (heads == 1) entry->optional();  // the released code has no to_out where the one head is as wide as x
    };
    const auto norm = [&](const std::string& name, Tensor& weight, Tensor& bias) {
      d.weight(name + ".norm.weight", weight, "dim");
      d.weight(name + ".norm.bias", bias, "dim");
    };
    if (!depth) attention(alone, "");
    layers.resize(std::size_t(depth.value_or(0)));
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string name = "layers." + std::to_string(i);
      norm(name + ".0", layers[i].norm, layers[i].norm_bias);
      attention(layers[i], name + ".0.fn.");
      norm(name + ".1", layers[i].ista_norm, layers[i].ista_norm_bias);
      d.weight(name + ".1.fn.weight", layers[i].dictionary, "dim dim", "D");
    }
    d.output("out", out, "B N dim");
    d.output("after_attn_0", after_attn_0, "B N dim", "after the first attention's residual").when(depth.has_value(), "depth given");
    d.output("layer_0", layer_0, "B N dim", "after the first layer").when(depth.has_value(), "depth given");
  }

  Tensor mssa(Ops& ops, const Tensor& from, const Layer& l) const {
    const Tensor w = split_heads(ops.linear(from, l.u), heads);
    const Tensor read = join_heads(ops.attend(w, w, w).out);
    if (l.wo.defined() != l.bo.defined() || (!l.wo.defined() && dim_head != from.extent(2)))
      fail("weight to_out.0", "weight and bias, where the one head is not as wide as x or one of them is given", "none");
    return l.wo.defined() ? ops.linear(read, l.wo, l.bo) : read;
  }

  void run(Ops& ops) override {
    if (!depth) return void(out = mssa(ops, x, alone));
    out = x;
    for (const Layer& l : layers) {
      const bool first = &l == &layers.front();
      const Tensor z = ops.add(out, mssa(ops, ops.layer_norm(out, l.norm, l.norm_bias, float(ln_eps)), l));
      if (first) after_attn_0 = z;
      const Tensor t = ops.layer_norm(z, l.ista_norm, l.ista_norm_bias, float(ln_eps));
      const Tensor step = ops.matmul(ops.sub(t, ops.linear(t, l.dictionary)), l.dictionary);
      out = ops.relu(ops.shift(ops.add(t, ops.scale(step, float(step_size))), float(-step_size * lambd)));
      if (first) layer_0 = out;
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(crate_mssa, CrateMssa, "crate-mssa", "dense", "module", 2,
               "White-Box Transformers via Sparse Rate Reduction: Compression Is All There Is?")
