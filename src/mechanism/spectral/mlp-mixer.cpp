// SPDX-License-Identifier: Apache-2.0
// MLP-Mixer (Tolstikhin et al., 2021), one block: an MLP across the tokens, shared by the channels, then one across the channels.
//   u = x + (W2 gelu(W1 LN(x)^T + b1) + b2)^T,   out = u + W4 gelu(W3 LN(u) + b3) + b4
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct MlpMixer : Mechanism {
  /// One of the two MLPs with its norm.
  struct Mlp {
    Tensor norm_weight, norm_bias, w1, b1, w2, b2;
  };
  Tensor x, out;
  Mlp tokens, channels;
  std::optional<std::int64_t> num_patches, dim, token_hidden, channel_hidden;

  void describe(Declaration& d) override {
    d.param("num_patches", num_patches, "tokens").computed("N");
    d.param("dim", dim, "width of x").computed("C");
    d.param("token_hidden", token_hidden, "hidden units of the MLP across the tokens").computed("rows of 0.fn.0.weight");
    d.param("channel_hidden", channel_hidden, "hidden units of the MLP across the channels").computed("rows of 1.fn.0.weight");
    d.input("x", x, "B num_patches dim", "tokens");
    const auto mlp = [&](Mlp& m, const std::string& name, const std::string& hidden, const std::string& wide, const std::string& tail) {
      d.weight(name + ".norm.weight", m.norm_weight, "dim");
      d.weight(name + ".norm.bias", m.norm_bias, "dim");
      d.weight(name + ".fn.0.weight", m.w1, hidden + " " + wide + tail);
      d.weight(name + ".fn.0.bias", m.b1, hidden);
      d.weight(name + ".fn.3.weight", m.w2, wide + " " + hidden + tail);
      d.weight(name + ".fn.3.bias", m.b2, wide);
    };
    mlp(tokens, "0", "token_hidden", "num_patches", " 1");
    mlp(channels, "1", "channel_hidden", "dim", "");
    d.size("token_hidden", "max(dim//2,1)");
    d.size("channel_hidden", "4*dim");
    d.output("out", out, "B num_patches dim");
  }

  void run(Ops& ops) override {
    const auto mixed = [&](const Tensor& from, const Mlp& m, bool across_tokens) {
      const auto matrix = [](const Tensor& w) { return w.reshape({w.extent(0), w.extent(1)}); };
      const Tensor normed = ops.layer_norm(from, m.norm_weight, m.norm_bias);
      const Tensor hidden = ops.gelu(ops.linear(across_tokens ? normed.transpose(1, 2) : normed, matrix(m.w1), m.b1));
      const Tensor result = ops.linear(hidden, matrix(m.w2), m.b2);
      return ops.add(from, across_tokens ? result.transpose(1, 2) : result);
    };
    out = mixed(mixed(x, tokens, true), channels, false);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(mlp_mixer, MlpMixer, "mlp-mixer", "spectral", "module", 2, "MLP-Mixer: An all-MLP Architecture for Vision")
