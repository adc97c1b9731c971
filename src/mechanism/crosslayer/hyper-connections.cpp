// SPDX-License-Identifier: Apache-2.0
// Hyper-connections (Zhu et al., 2024), with fractions (Frac-connections): S residual streams of f parts, mixed by maps that depend on
// the token. With n = h/|h| sqrt(d/f) (gamma + 1), alpha = static + act(n A) s, beta = static + act(n B) s:
//   y = branch(sum_sf alpha[s,f,.,0] h[s,f]),   h'[t] = sum_sf alpha[s,f,.,1+t] h[s,f] + sum_f beta[t,f] y[f],   branch = tanh(linear)
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct HyperConnections : Mechanism {
  struct Layer {
    Tensor static_alpha, alpha_fn, alpha_scale, static_beta, beta_fn, beta_scale, gamma, weight, bias, streams;
  };
  std::vector<Layer> layers;
  Tensor x, out;
  std::int64_t num_residual_streams = 4, num_fracs = 1, depth = 2;
  std::optional<std::int64_t> dim;
  bool tanh = true;

  void describe(Declaration& d) override {
    d.param("num_residual_streams", num_residual_streams, "S, copies of x that run beside each other").least(1);
    d.param("dim", dim, "width of x").computed("d");
    d.param("depth", depth, "layers").least(1).most(1000);
    d.param("tanh", tanh, "whether the token's part of the maps is squashed");
    d.param("num_fracs", num_fracs, "f, parts that a stream is split into").least(1);
    layers.resize(std::size_t(depth));
    d.size("*one", "1");
    d.input("x", x, "B N dim", "tokens");
    d.output("out", out, "B N dim", "the sum of the streams");
    const bool parts = num_fracs > 1;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Layer& y = layers[l];
      const std::string at = "layers." + std::to_string(l) + ".";
      d.weight(at + "static_alpha", y.static_alpha, "num_fracs*num_residual_streams num_fracs*(1+num_residual_streams)");
      d.weight(at + "dynamic_alpha_fn", y.alpha_fn, "dim/num_fracs num_fracs*(1+num_residual_streams)").init(Init::zeros);
      d.weight(at + "dynamic_alpha_scale", y.alpha_scale, "*one").init(Init::normal);
      d.weight(at + "static_beta", y.static_beta, "num_fracs*num_residual_streams").init(Init::ones);
      d.weight(at + "dynamic_beta_fn", y.beta_fn, parts ? "dim/num_fracs num_fracs" : "dim").init(Init::zeros);
      d.weight(at + "dynamic_beta_scale", y.beta_scale, "*one").init(Init::normal);
      d.weight(at + "norm.gamma", y.gamma, "dim/num_fracs").init(Init::zeros);
      d.linear(at + "branch.0", y.weight, y.bias, "dim", "dim");
      d.output("streams_" + std::to_string(l), y.streams, "B num_residual_streams N dim");
    }
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), C = x.extent(2), S = num_residual_streams, f = num_fracs, w = C / f;
    if (C % f) fail("parameter num_fracs", "a divisor of " + std::to_string(C), std::to_string(f));
    const auto act = [&](const Tensor& value, const Tensor& scale) { return ops.mul(tanh ? ops.tanh(value) : value, scale.reshape({1})); };
    Tensor h = x.reshape({B, N, 1, f, w}).broadcast({B, N, S, f, w});
    for (Layer& y : layers) {
      const Tensor length = ops.maximum(ops.sqrt(ops.sum(ops.square(h), {-1}, true)), ops.full({}, 1e-12f));
      const Tensor n = ops.mul(ops.div(h, length), ops.scale(ops.shift(y.gamma, 1), std::sqrt(float(w))));
      // Rows (stream, part), columns (part, 1 + stream).
      const Tensor own = y.static_alpha.reshape({f, S, f * (1 + S)}).permute({1, 0, 2});
      const Tensor alpha = ops.add(own, act(ops.matmul(n, y.alpha_fn), y.alpha_scale)).reshape({B, N, S * f, f * (1 + S)});
      const Tensor mixed = ops.matmul(alpha.transpose(2, 3), h.reshape({B, N, S * f, w})).reshape({B, N, f, 1 + S, w});
      const Tensor beta = ops.add(y.static_beta.reshape({S, 1, f}), act(ops.matmul(n, y.beta_fn.reshape({w, f})), y.beta_scale));
      const Tensor branch = ops.tanh(ops.linear(mixed.slice(3, 0, 1).reshape({B, N, C}), y.weight, y.bias)).reshape({B, N, f, w});
      const Tensor added = ops.matmul(beta.transpose(3, 4).reshape({B, N, S * f, f}), branch).reshape({B, N, S, f, w});
      h = ops.add(mixed.slice(3, 1, S).permute({0, 1, 3, 2, 4}), added);
      if (wants(y.streams)) y.streams = h.reshape({B, N, S, C}).permute({0, 2, 1, 3});
    }
    out = ops.sum(h, {2}).reshape({B, N, C});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(hyper_connections, HyperConnections, "hyper-connections", "crosslayer", "module", 2, "Hyper-Connections")
