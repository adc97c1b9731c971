// SPDX-License-Identifier: Apache-2.0
// Mega (Ma et al., 2023): a damped moving average with ndim hidden averages a channel, then one head of gated attention.
//   p = sigmoid(delta), q = 1 - p sigmoid(alpha):  s_t = q s_{t-1} + p beta x_t,  ema = silu(sum_n gamma s_t / sqrt(ndim) + omega x)
//   u | z | r | h_x = W ema (sigmoid, silu, silu, -),  q, k = z gamma_i + beta_i,  v = silu(W_v norm(x))
//   h = silu(h_x + W_h (A v * r)),   out = x + u (h - x),   A = f(q k^T / n + bias), or softmax(q k^T / sqrt(zdim) + bias)
// within chunks. Bidirectional: half of the averages runs from the end; the token itself is in both.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Mega : Mechanism {
  Tensor x, padding_mask, norm_weight, norm_bias, delta, alpha, ema_beta, ema_gamma, omega, v_weight, v_bias, mx_weight, mx_bias, h_weight,
      h_bias, gamma, beta, distance_bias, rotary_alpha, rotary_beta, out, weights, ema;
  std::optional<std::int64_t> embed_dim, hdim, truncation;
  std::int64_t zdim = 128, ndim = 16, chunk_size = -1, max_positions = 1024;
  std::string attention_activation = "softmax", rel_pos_bias = "simple", norm_type = "layernorm";
  bool bidirectional = false, causal = false, prenorm = true;

  std::int64_t positions() const {
    if (chunk_size == 0) fail("parameter chunk_size", "-1, or at least 1", "0");
    return chunk_size < 0 ? max_positions : chunk_size;
  }

  void describe(Declaration& d) override {
    d.param("embed_dim", embed_dim, "width of x").least(1).computed("E");
    d.param("zdim", zdim, "width of queries and keys").least(1);
    d.param("hdim", hdim, "width of values").least(1).computed("2*embed_dim");
    d.param("ndim", ndim, "averages a channel").least(1);
    d.param("attention_activation", attention_activation, "how scores become weights").one_of({"softmax", "laplace", "relu2"});
    d.param("bidirectional", bidirectional, "averages from both ends");
    d.param("chunk_size", chunk_size, "tokens that attend to each other; -1: all").least(-1);
    d.param("rel_pos_bias", rel_pos_bias, "added to the scores").one_of({"simple", "rotary"});
    d.param("truncation", truncation, "tokens an average remembers").least(1).computed("all");
    d.param("causal", causal, "a query sees keys up to its own");
    d.param("prenorm", prenorm, "norm before; false: after");
    d.param("norm_type", norm_type, "which norm").one_of({"layernorm", "rmsnorm"});
    d.param("max_positions", max_positions, "longest sequence of the simple bias without chunks").least(1);
    const std::string E = embed_dim ? "embed_dim" : "E", F = hdim ? "hdim" : "2*" + E, D = bidirectional ? "2*" + E : E;
    const bool simple = rel_pos_bias == "simple";
    d.input("x", x, "B N " + E, "tokens");
    d.input("padding_mask", padding_mask, "B N", "true where a token is padding").of(DType::boolean).optional();
    d.weight("norm.norm.weight", norm_weight, E);
    d.weight("norm.norm.bias", norm_bias, E).when(norm_type == "layernorm", "norm_type=layernorm");
    d.weight("move.delta", delta, D + " ndim 1").init(Init::normal);
    d.weight("move.alpha", alpha, D + " ndim 1").init(Init::normal);
    d.weight("move.beta", ema_beta, D + " ndim 1").init(Init::normal);
    d.weight("move.gamma", ema_gamma, D + " ndim").init(Init::normal);
    d.weight("move.omega", omega, E).init(Init::normal);
    d.linear("v_proj", v_weight, v_bias, F, E);
    d.linear("mx_proj", mx_weight, mx_bias, "zdim+" + F + "+2*" + E, E);
    d.linear("h_proj", h_weight, h_bias, E, F);
    d.weight("gamma", gamma, "2 zdim").init(Init::normal);
    d.weight("beta", beta, "2 zdim").init(Init::zeros);
    d.weight("rel_pos_bias.rel_pos_bias", distance_bias, std::to_string(2 * positions() - 1))
        .init(Init::normal)
        .when(simple, "rel_pos_bias=simple");
    d.weight("rel_pos_bias.alpha", rotary_alpha, "1 zdim").init(Init::normal).when(!simple, "rel_pos_bias=rotary");
    d.weight("rel_pos_bias.beta", rotary_beta, "1 zdim").init(Init::normal).when(!simple, "rel_pos_bias=rotary");
    d.ignore("rel_pos_bias._float_tensor");
    d.output("out", out, "B N " + E);
    d.output("weights", weights, "B K c c", "of each chunk");
    d.output("ema", ema, "B N " + E, "the moving average");
  }

  Tensor norm(const Ops& ops, const Tensor& y) const {
    return norm_type == "layernorm" ? ops.layer_norm(y, norm_weight, norm_bias) : ops.rms_norm(y, norm_weight, 1e-5f);
  }

  Tensor moving_average(const Ops& ops, const Tensor& y) const {
    const auto B = y.extent(0), N = y.extent(1), E = y.extent(2);
    Tensor shown = y;
    if (padding_mask.defined()) shown = ops.where(padding_mask.reshape({B, N, 1}), ops.full({1}, 0), y);
    Tensor sum = ops.mul(y, omega);
    for (int side = 0; side < (bidirectional ? 2 : 1); ++side) {
      const auto half = [&](const Tensor& w) { return w.slice(0, side * E, E).reshape({E, ndim}); };
      const Tensor p = ops.sigmoid(half(delta)), q = ops.shift(ops.neg(ops.mul(p, ops.sigmoid(half(alpha)))), 1);
      Tensor states = ops.recurrence(q, ops.mul(shown.reshape({B, N, E, 1}), ops.mul(p, half(ema_beta))), 1, side == 1);
      if (truncation && *truncation < N) {  // less what is older
        const auto L = *truncation;
        const Tensor older = side == 0 ? ops.pad(states.slice(1, 0, N - L), 1, L, 0) : ops.pad(states.slice(1, L, N - L), 1, 0, L);
        states = ops.sub(states, ops.mul(older, ops.pow(q, float(L))));
      }
      sum = ops.add(sum, ops.sum(ops.mul(states, ops.scale(half(ema_gamma), 1 / std::sqrt(float(ndim)))), {3}));
    }
    return ops.silu(sum);
  }

  /// (c, c).
  Tensor bias(const Ops& ops, std::int64_t c) const {
    const auto P = positions();
    if (rel_pos_bias == "simple") {
      if (c > P) fail("parameter max_positions", "at least the " + std::to_string(c) + " tokens", std::to_string(P));
      return ops.strided(distance_bias.dense(), {c, c}, {-1, 1}, P - 1);
    }
    const auto half = zdim / 2;
    if (zdim % 2 != 0) fail("parameter zdim", "an even width for rotary", std::to_string(zdim));
    const Tensor cos(DType::f32, {c, half}), sin(DType::f32, {c, half});
    for (std::int64_t t = 0; t < c; ++t)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(t) * std::pow(1e4, -double(i) / double(half));
        cos.data<float>()[t * half + i] = float(std::cos(angle));
        sin.data<float>()[t * half + i] = float(std::sin(angle));
      }
    const auto turned = [&](const Tensor& w) { return ops.rope(w.broadcast({1, c, 1, zdim}), cos, sin).reshape({c, zdim}); };
    return ops.matmul(turned(rotary_alpha), turned(rotary_beta).transpose(0, 1));
  }

  /// q, k (B, K, c, zdim), v (B, K, c, hdim) -> (B, K, c, hdim).
  Tensor attend(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v) {
    const auto B = q.extent(0), K = q.extent(1), c = q.extent(2);
    const Tensor pad = padding_mask.defined() ? padding_mask.reshape({B, K, c}).dense() : Tensor();
    const Tensor added = bias(ops, c);
    if (attention_activation == "softmax") {
      AttendOptions o;
      o.causal = causal;
      o.scale = 1 / std::sqrt(float(zdim));
      const Tensor visible(DType::boolean, {B * K, 1, 1, c});
      if (pad.defined()) {  // a chunk of padding alone looks at all of it
        for (std::int64_t chunk = 0; chunk < B * K; ++chunk) {
          const auto* from = pad.data<std::uint8_t>() + chunk * c;
          const bool all = std::find(from, from + c, std::uint8_t(0)) == from + c;
          for (std::int64_t j = 0; j < c; ++j) visible.data<std::uint8_t>()[chunk * c + j] = all || !from[j];
        }
        o.mask = visible.view();
      }
      const auto token = [&](const Tensor& y) { return y.reshape({B * K, c, 1, y.extent(3)}); };
      Tensor read =
          attend_into(ops, token(q), token(k), token(v), o, wants(weights) ? &weights : nullptr, {.bias = added.reshape({1, 1, c, c})});
      if (wants(weights)) weights = weights.reshape({B, K, c, c});
      return read.reshape(v.shape());
    }
    const Tensor count(DType::f32, causal ? Shape{c, 1} : Shape{B, K, 1, 1}), shown(DType::f32, {B, K, 1, c}), before(DType::f32, {c, c});
    for (std::int64_t n = 0; n < shown.count(); ++n) shown.data<float>()[n] = !pad.defined() || !pad.data<std::uint8_t>()[n];
    for (std::int64_t n = 0; n < c * c; ++n) before.data<float>()[n] = !causal || n % c <= n / c;
    for (std::int64_t n = 0; n < count.count(); ++n) {
      if (causal)
        count.data<float>()[n] = float(n + 1);
      else
        count.data<float>()[n] = std::max(1.0f, std::accumulate(shown.data<float>() + n * c, shown.data<float>() + (n + 1) * c, 0.0f));
    }
    const Tensor s = ops.add(ops.div(ops.matmul(q, k.transpose(2, 3)), count), added);
    const float mean = 0.707107f, deviation = 0.282095f;
    const Tensor f = attention_activation == "relu2"
                         ? ops.square(ops.relu(s))
                         : ops.scale(ops.shift(ops.erf(ops.scale(ops.shift(s, -mean), 1 / (deviation * std::sqrt(2.0f)))), 1), 0.5f);
    weights = ops.mul(ops.mul(f, shown), before);
    return ops.matmul(weights, v);
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), E = x.extent(2), F = v_weight.extent(0);
    const auto c = chunk_size < 0 ? N : std::min(N, chunk_size), K = c > 0 ? N / c : 0;
    if (K * c != N) fail("input x", "tokens that are a multiple of chunk_size " + std::to_string(chunk_size), std::to_string(N));
    const Tensor normed = prenorm ? norm(ops, x) : x;
    ema = moving_average(ops, normed);
    const auto parts = ops.split(ops.linear(ema, mx_weight, mx_bias), 2, {E, zdim, F, E});
    const Tensor z = ops.silu(parts[1]), v = ops.silu(ops.linear(normed, v_weight, v_bias));
    const auto head = [&](std::int64_t i) {
      return ops.add(ops.mul(z, gamma.slice(0, i, 1).reshape({zdim})), beta.slice(0, i, 1).reshape({zdim})).reshape({B, K, c, zdim});
    };
    const Tensor read = attend(ops, head(0), head(1), v.reshape({B, K, c, F})).reshape({B, N, F});
    const Tensor h = ops.silu(ops.add(parts[3], ops.linear(ops.mul(read, ops.silu(parts[2])), h_weight, h_bias)));
    out = ops.add(x, ops.mul(ops.sigmoid(parts[0]), ops.sub(h, x)));
    if (!prenorm) out = norm(ops, out);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(mega, Mega, "mega", "linear", "module", 2, "Mega: Moving Average Equipped Gated Attention")
