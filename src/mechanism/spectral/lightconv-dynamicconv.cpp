// SPDX-License-Identifier: Apache-2.0
// Lightweight and dynamic convolutions (Wu et al., 2019): one short filter a head, the same for all its channels.
//   o_t = sum_{j < K} w_j x_{t + j - padding_l},  w = softmax_j(weight)  (lightweight)  or  softmax_j(weight_linear(x_t))  (dynamic)
// glu: linear1, first half * sigmoid(second half), the convolution, linear2.
#include <limits>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct LightConv : Mechanism {
  Tensor x, weight, bias, w_linear, b_linear, w1, b1, w2, b2, out;
  std::string conv_type = "lightweight";
  std::optional<std::int64_t> embed_dim, conv_dim, padding_l;
  std::int64_t kernel_size = 3, num_heads = 1;
  bool weight_softmax = true, has_bias = false, renorm_padding = false, glu = false;

  void describe(Declaration& d) override {
    d.param("conv_type", conv_type, "one filter, or one a token").one_of({"lightweight", "dynamic"});
    d.param("embed_dim", embed_dim, "width of x").computed("C");
    d.param("conv_dim", conv_dim, "channels of the convolution").computed("embed_dim");
    d.param("kernel_size", kernel_size, "K, taps").least(1);
    d.param("padding_l", padding_l, "taps before the token: K-1 is causal, K//2 centred").least(0).computed("K-1");
    d.param("num_heads", num_heads, "filters; head h owns consecutive channels").least(1);
    d.param("weight_softmax", weight_softmax, "taps are a softmax");
    d.param("bias", has_bias, "one number a channel added after the convolution");
    d.param("renorm_padding", renorm_padding, "dynamic with weight_softmax: over the taps inside the sequence only");
    d.param("glu", glu, "gated linear unit before, a projection after");
    const std::string D = glu && conv_dim ? "conv_dim" : "embed_dim";
    const bool dynamic = conv_type == "dynamic";
    d.input("x", x, "B N embed_dim", "tokens");
    if (dynamic)
      d.linear("conv.weight_linear", w_linear, b_linear, "num_heads*kernel_size", D, has_bias);
    else
      d.weight("conv.weight", weight, "num_heads 1 kernel_size");
    d.weight(dynamic ? "conv.conv_bias" : "conv.bias", bias, D).when(has_bias, "bias=true");
    if (glu) {
      d.linear("linear1", w1, b1, "2*" + D, "embed_dim");
      d.linear("linear2", w2, b2, "embed_dim", D);
    }
    d.output("out", out, "B N embed_dim");
  }

  /// (B or 1, N or 1, H, K).
  Tensor filters(Ops& ops, const Tensor& from, std::int64_t before) const {
    if (conv_type == "lightweight") {
      const Tensor taps = weight.reshape({1, 1, num_heads, kernel_size});
      return weight_softmax ? ops.softmax(taps, 3) : taps;
    }
    const auto B = from.extent(0), N = from.extent(1);
    Tensor taps = ops.linear(from, w_linear, b_linear).reshape({B, N, num_heads, kernel_size});
    if (!weight_softmax) return taps;
    if (renorm_padding) {
      const Tensor inside(DType::boolean, {1, N, 1, kernel_size});
      auto* at = inside.data<std::uint8_t>();
      for (std::int64_t t = 0; t < N; ++t)
        for (std::int64_t j = 0; j < kernel_size; ++j) *at++ = t + j >= before && t + j - before < N;
      taps = ops.where(inside, taps, ops.full({}, -std::numeric_limits<float>::infinity()));
    }
    return ops.softmax(taps, 3);
  }

  void run(Ops& ops) override {
    Tensor from = x;
    if (glu) {
      const Tensor wide = ops.linear(x, w1, b1);
      const auto half = wide.extent(2) / 2;
      from = ops.mul(wide.slice(2, 0, half), ops.sigmoid(wide.slice(2, half, half)));
    }
    const auto B = from.extent(0), N = from.extent(1), D = from.extent(2), H = num_heads, K = kernel_size;
    if (D % H) fail("parameter num_heads", "a divisor of " + std::to_string(D), std::to_string(H));
    const auto before = padding_l.value_or(K - 1);
    if (before > K - 1) fail("parameter padding_l", "at most " + std::to_string(K - 1), std::to_string(before));
    const Tensor taps = filters(ops, from, before);
    const Tensor padded = ops.pad(from, 1, before, K - 1 - before).dense();
    const auto rows = (N + K - 1) * D;
    const Tensor windows = ops.strided(padded, {B, N, H, D / H, K}, {rows, D, D / H, 1, D});
    out = ops.matmul(windows, taps.reshape({taps.extent(0), taps.extent(1), H, K, 1})).reshape({B, N, D});
    if (bias.defined()) out = ops.add(out, bias);
    if (glu) out = ops.linear(out, w2, b2);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(lightconv_dynamicconv, LightConv, "lightconv-dynamicconv", "spectral", "module", 2,
               "Pay Less Attention with Lightweight and Dynamic Convolutions")
