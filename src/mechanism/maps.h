// SPDX-License-Identifier: Apache-2.0
// Layers of networks on maps x[B, C, H, W]: weights under their official names, and what they compute.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "mechanism/mechanism.h"
#include "heed/ops.h"

namespace heed::mechanism {

/// Where an entry is present, and the same in words for the documentation.
struct When {
  bool holds = true;
  std::string text{};

  When operator&&(const When& other) const {
    return {holds && other.holds, text.empty() || other.text.empty() ? text + other.text : text + ", " + other.text};
  }
};

/// NAME.weight (`shape`), NAME.bias (the first extent): a convolution, or a matrix (out, in).
struct Affine {
  Tensor weight, bias;

  void describe(Declaration& d, const std::string& name, const std::string& shape, const When& has_bias = {}, const When& present = {}) {
    d.weight(name + ".weight", weight, shape).when(present.holds, present.text);
    if (has_bias.text == "never") return;
    const When both = present && has_bias;
    d.weight(name + ".bias", bias, shape.substr(0, shape.find(' '))).when(both.holds, both.text);
  }
  Tensor conv(const Ops& ops, const Tensor& x, const ConvOptions& options = {}) const { return ops.conv(x, weight, bias, options); }
  Tensor linear(const Ops& ops, const Tensor& x) const { return ops.linear(x, weight, bias); }
};
inline const When never{false, "never"};

/// Batch norm by running statistics, epsilon 1e-5.
struct BatchNorm {
  Tensor weight, bias, mean, variance;

  void describe(Declaration& d, const std::string& name, const std::string& channels, const When& present = {}) {
    d.weight(name + ".weight", weight, channels).init(Init::ones).when(present.holds, present.text);
    d.weight(name + ".bias", bias, channels).init(Init::zeros).when(present.holds, present.text);
    d.weight(name + ".running_mean", mean, channels).init(Init::zeros).no_gradient().when(present.holds, present.text);
    d.weight(name + ".running_var", variance, channels).init(Init::ones).no_gradient().when(present.holds, present.text);
    d.ignore(name + ".num_batches_tracked");
  }
  Tensor operator()(const Ops& ops, const Tensor& x) const { return ops.batch_norm(x, mean, variance, weight, bias); }
};

/// Affine norm over the last axis, epsilon 1e-5.
struct LayerNorm {
  Tensor weight, bias;

  void describe(Declaration& d, const std::string& name, const std::string& channels, const When& present = {}) {
    d.weight(name + ".weight", weight, channels).init(Init::ones).when(present.holds, present.text);
    d.weight(name + ".bias", bias, channels).init(Init::zeros).when(present.holds, present.text);
  }
  Tensor operator()(const Ops& ops, const Tensor& x) const { return ops.layer_norm(x, weight, bias); }
};

/// The value of a list for an axis, as text for a shape; one value is for all.
inline std::string extent(const std::vector<std::int64_t>& list, std::size_t axis) {
  if (list.empty()) fail("parameter", "one value or one an axis", "none");
  return std::to_string(list[list.size() == 1 ? 0 : std::min(axis, list.size() - 1)]);
}

/// Mean over the spatial axes: (B, C).
inline Tensor pooled(const Ops& ops, const Tensor& x) { return ops.mean(x, {2, 3}); }

/// x (B, C, H, W) times a gate (B, C).
inline Tensor gated(const Ops& ops, const Tensor& x, const Tensor& gate) {
  return ops.mul(x, gate.reshape({gate.extent(0), gate.extent(1), 1, 1}));
}

/// Largest and mean over the channels, (B, 2, H, W), the largest first.
inline Tensor largest_and_mean(const Ops& ops, const Tensor& x) { return ops.concat({ops.max(x, {1}, true), ops.mean(x, {1}, true)}, 1); }

/// (B, C, H, W) <-> (B, H W, C).
inline Tensor to_tokens(const Tensor& x) { return x.reshape({x.extent(0), x.extent(1), x.extent(2) * x.extent(3)}).transpose(1, 2); }
inline Tensor to_map(const Tensor& tokens, std::int64_t H, std::int64_t W) {
  if (tokens.extent(1) != H * W)
    fail("input x", std::to_string(H) + " x " + std::to_string(W) + " tokens", std::to_string(tokens.extent(1)));
  return tokens.transpose(1, 2).reshape({tokens.extent(0), tokens.extent(2), H, W});
}

/// Factored relative terms of queries q[B, h, qH, qW, D] and keys on a grid kH x kW, (B, h, qH qW, kH kW):
///   q . height[y_k - y_q + (rows - 1)/2] + q . width[x_k - x_q + (rows - 1)/2].
inline Tensor relative_terms(const Ops& ops, const Tensor& q, const Tensor& height, const Tensor& width, std::int64_t kH, std::int64_t kW) {
  const auto B = q.extent(0), h = q.extent(1), qH = q.extent(2), qW = q.extent(3), R = height.extent(0), S = width.extent(0);
  const Tensor rows =
      ops.strided(ops.linear(q, height), {B, h, qH, qW, kH, 1}, {h * qH * qW * R, qH * qW * R, qW * R - 1, R, 1, 1}, (R - 1) / 2);
  const Tensor columns =
      ops.strided(ops.linear(q, width), {B, h, qH, qW, 1, kW}, {h * qH * qW * S, qH * qW * S, qW * S, S - 1, 1, 1}, (S - 1) / 2);
  return ops.add(rows, columns).reshape({B, h, qH * qW, kH * kW});
}

}  // namespace heed::mechanism
