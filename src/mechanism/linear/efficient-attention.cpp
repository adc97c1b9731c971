// SPDX-License-Identifier: Apache-2.0
// Efficient attention (Shen et al., 2021): out = softmax_D(q) (softmax_N(k)^T v), the context D x E formed first.
// With in_channels it is the module for images: 1 x 1 convolutions, a reprojection, x added.
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct EfficientAttention : Mechanism {
  Tensor q, k, v, x, keys_weight, keys_bias, queries_weight, queries_bias, values_weight, values_bias, reprojection_weight,
      reprojection_bias, out;
  std::optional<std::int64_t> head_count, in_channels, key_channels, value_channels;

  void describe(Declaration& d) override {
    const bool module = in_channels.has_value();
    d.param("head_count", head_count, "heads").least(1).computed("H; of the module 1");
    d.param("in_channels", in_channels, "of x: makes this the module").least(1);
    d.param("key_channels", key_channels, "of all keys").least(1).computed("in_channels");
    d.param("value_channels", value_channels, "of all values").least(1).computed("in_channels");
    const std::string H = head_count ? "head_count" : "H";
    d.input("q", q, "B N " + H + " D", "queries").when(!module, "no in_channels");
    d.input("k", k, "B N " + H + " D", "keys").when(!module, "no in_channels");
    d.input("v", v, "B N " + H + " E", "values").when(!module, "no in_channels");
    d.input("x", x, "B in_channels height width", "an image").when(module, "in_channels");
    const std::string K = key_channels ? "key_channels" : "in_channels", V = value_channels ? "value_channels" : "in_channels";
    for (auto [name, weight, bias, channels] : {std::tuple("keys", &keys_weight, &keys_bias, K),
                                                {"queries", &queries_weight, &queries_bias, K},
                                                {"values", &values_weight, &values_bias, V}}) {
      d.weight(std::string(name) + ".weight", *weight, channels + " in_channels 1 1").when(module, "in_channels");
      d.weight(std::string(name) + ".bias", *bias, channels).when(module, "in_channels");
    }
    d.weight("reprojection.weight", reprojection_weight, "in_channels " + V + " 1 1").when(module, "in_channels");
    d.weight("reprojection.bias", reprojection_bias, "in_channels").when(module, "in_channels");
    d.size("height", "56");
    d.size("width", "56");
    d.output("out", out, module ? "B in_channels height width" : "B N " + H + " E");
  }

  /// (B, N, H, D), (B, N, H, D), (B, N, H, E) -> (B, N, H, E).
  static Tensor attend(const Ops& ops, const Tensor& queries, const Tensor& keys, const Tensor& values) {
    const Tensor context = ops.matmul(ops.softmax(keys, 1).permute({0, 2, 3, 1}), values.permute({0, 2, 1, 3}));
    return ops.matmul(ops.softmax(queries, 3).permute({0, 2, 1, 3}), context).permute({0, 2, 1, 3});
  }

  void run(Ops& ops) override {
    if (!in_channels) {
      out = attend(ops, q, k, v);
      return;
    }
    const auto B = x.extent(0), C = x.extent(1), N = x.extent(2) * x.extent(3), heads = head_count.value_or(1);
    const Tensor tokens = x.reshape({B, C, N}).permute({0, 2, 1});
    const auto project = [&](const Tensor& from, const Tensor& weight, const Tensor& bias) {
      return ops.linear(from, weight.reshape({weight.extent(0), weight.extent(1)}), bias);
    };
    const auto split = [&](const Tensor& y) {
      if (y.extent(2) % heads)
        fail("parameter head_count", "a divisor of " + std::to_string(y.extent(2)) + " channels", std::to_string(heads));
      return y.reshape({B, N, heads, y.extent(2) / heads});
    };
    const Tensor values = project(tokens, values_weight, values_bias);
    const Tensor attended =
        attend(ops, split(project(tokens, queries_weight, queries_bias)), split(project(tokens, keys_weight, keys_bias)), split(values));
    const Tensor projected = project(attended.reshape(values.shape()), reprojection_weight, reprojection_bias);
    out = ops.add(projected.permute({0, 2, 1}).reshape(x.shape()), x);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(efficient_attention, EfficientAttention, "efficient-attention", "linear", "op", 1,
               "Efficient Attention: Attention with Linear Complexities")
