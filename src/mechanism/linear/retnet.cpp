// SPDX-License-Identifier: Apache-2.0
// Retention (RetNet; Sun et al., 2023). Head h forgets by g_h = 1 - 2^(-5-h) a step; q and k are rotated, k scaled by D^-1/2:
//   O_n = q_n S_n,  S_n = g S_{n-1} + k_n^T v_n,   divided by sqrt(sum_{m<=n} g^(n-m)) and a scale that a norm per head takes away;
//   out = W_o (swish(W_g x) * RMSNorm(O)).
// The three forms of the paper differ in that scale: parallel clamps each row's sum of |weights|, chunkwise the larger of the
// chunk's and the state's, recurrent has none. The scales pass no gradient.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct RetNet : Mechanism {
  Tensor x, q_weight, k_weight, v_weight, g_weight, out_weight, out, parallel, chunkwise, recurrent;
  std::optional<std::int64_t> embed_dim, value_dim;
  std::int64_t num_heads = 1, recurrent_chunk_size = 512;
  std::string gate_fn = "swish", form = "parallel";
  double layernorm_eps = 1e-6;

  void describe(Declaration& d) override {
    d.param("embed_dim", embed_dim, "width of x").least(1).computed("C");
    d.param("value_dim", value_dim, "width of the values").least(1).computed("2*embed_dim");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("gate_fn", gate_fn, "of the gate").one_of({"swish", "gelu", "relu"});
    d.param("layernorm_eps", layernorm_eps, "of the norm per head").least(0);
    d.param("recurrent_chunk_size", recurrent_chunk_size, "tokens of a chunk in the chunkwise form").least(1);
    d.param("form", form, "which form `out` is").one_of({"parallel", "chunkwise", "recurrent"});
    const std::string C = embed_dim ? "embed_dim" : "C", V = value_dim ? "value_dim" : "2*" + C;
    d.input("x", x, "B N " + C, "tokens");
    d.weight("q_proj.weight", q_weight, C + " " + C);
    d.weight("k_proj.weight", k_weight, C + " " + C);
    d.weight("v_proj.weight", v_weight, V + " " + C);
    d.weight("g_proj.weight", g_weight, V + " " + C);
    d.weight("out_proj.weight", out_weight, C + " " + V);
    d.output("out", out, "B N " + C, "the form named");
    d.output("parallel", parallel, "B N " + C);
    d.output("chunkwise", chunkwise, "B N " + C);
    d.output("recurrent", recurrent, "B N " + C);
  }

  static double decay(std::int64_t h) { return 1 - std::exp2(-5.0 - double(h)); }

  /// Interleaved pairs turned by n / 10000^linspace(0, 1, D/2).
  static Tensor rotate(const Ops& ops, const Tensor& heads) {
    const auto N = heads.extent(1), half = heads.extent(3) / 2;
    if (heads.extent(3) % 2 != 0) fail("parameter num_heads", "keys of an even width, which rotate", std::to_string(heads.extent(3)));
    const Tensor cos(DType::f32, {N, half}), sin(DType::f32, {N, half});
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(n) * std::pow(1e4, half > 1 ? -double(i) / double(half - 1) : 0.0);
        cos.data<float>()[n * half + i] = float(std::cos(angle));
        sin.data<float>()[n * half + i] = float(std::sin(angle));
      }
    return ops.rope(heads, cos, sin, true);
  }

  /// table[h, i] = f(g_h, i), as (1, H, n, 1).
  template <class F>
  Tensor per_row(std::int64_t n, F f) const {
    const Tensor table(DType::f32, {1, num_heads, n, 1});
    for (std::int64_t h = 0; h < num_heads; ++h)
      for (std::int64_t i = 0; i < n; ++i) table.data<float>()[h * n + i] = float(f(decay(h), i));
    return table;
  }
  /// sqrt(sum_{m <= i} g^(i-m)).
  Tensor row_scale(std::int64_t n) const {
    return per_row(n, [](double g, std::int64_t i) { return std::sqrt((1 - std::pow(g, double(i + 1))) / (1 - g)); });
  }
  /// g^(i-j) over the row's scale where j <= i: (1, H, n, n).
  Tensor mask(const Ops& ops, std::int64_t n) const {
    const Tensor table(DType::f32, {1, num_heads, n, n});
    float* at = table.data<float>();
    for (std::int64_t h = 0; h < num_heads; ++h)
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) *at++ = j <= i ? float(std::pow(decay(h), double(i - j))) : 0;
    return ops.div(table, row_scale(n));
  }

  static Tensor sum_of_weights(const Ops& ops, const Tensor& weights) {
    return ops.sum(ops.abs(ops.no_gradient(weights, "the scale is taken away by the norm")), {-1}, true);
  }

  // q, k (B, H, N, D), v (B, H, N, E) -> (B, H, N, E).

  Tensor in_parallel(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v) const {
    const Tensor weights = ops.mul(ops.matmul(q, k.transpose(2, 3)), mask(ops, q.extent(2)));
    return ops.matmul(ops.div(weights, ops.clamp(sum_of_weights(ops, weights), 1, 5e4f)), v);
  }

  Tensor in_chunks(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v) const {
    const auto B = q.extent(0), N = q.extent(2), C = recurrent_chunk_size, chunks = (N + C - 1) / C;
    const auto cut = [&](const Tensor& y) {  // (B, chunks, H, C, D)
      return ops.pad(y, 2, 0, chunks * C - N).reshape({B, num_heads, chunks, C, y.extent(3)}).permute({0, 2, 1, 3, 4});
    };
    const Tensor queries = cut(q), keys = cut(k), values = cut(v), scale = row_scale(C);
    const Tensor weights = ops.mul(ops.matmul(queries, keys.transpose(3, 4)), mask(ops, C));
    const Tensor within = ops.maximum(sum_of_weights(ops, weights), ops.full({1}, 1));
    // What a chunk adds to the state, and the state before each chunk; both over the sum of the chunk's decays.
    const Tensor total = ops.square(scale.slice(2, C - 1, 1));
    const Tensor fading = ops.div(per_row(C, [C](double g, std::int64_t i) { return std::pow(g, double(C - 1 - i)); }), total);
    const Tensor added = ops.matmul(keys.transpose(3, 4), ops.mul(values, fading));
    const Tensor carried = per_row(1, [C](double g, std::int64_t) { return std::pow(g, double(C)); });
    const Tensor states = ops.pad(ops.recurrence(carried, added, 1).slice(1, 0, std::max<std::int64_t>(chunks - 1, 0)), 1, chunks > 0, 0);
    const Tensor size = ops.max(ops.sum(ops.abs(ops.no_gradient(states, "the scale is taken away by the norm")), {3}, true), {4}, true);
    const Tensor reading = ops.div(ops.mul(per_row(C, [](double g, std::int64_t i) { return std::pow(g, double(i + 1)); }), total), scale);
    const Tensor sum = ops.add(ops.matmul(weights, values), ops.matmul(ops.mul(queries, reading), states));
    return ops.div(sum, ops.maximum(within, size)).permute({0, 2, 1, 3, 4}).reshape({B, num_heads, chunks * C, v.extent(3)}).slice(2, 0, N);
  }

  Tensor by_token(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v) const {
    const Tensor logs(DType::f32, {num_heads, 1});
    for (std::int64_t h = 0; h < num_heads; ++h) logs.data<float>()[h] = float(std::log(decay(h)));
    const Tensor o = ops.scan(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), {.decay = logs}).out;
    return ops.div(o.transpose(1, 2), row_scale(q.extent(2)));
  }

  void run(Ops& ops) override {
    const Tensor q = rotate(ops, split_heads(ops.linear(x, q_weight), num_heads)).transpose(1, 2);
    const Tensor keys = split_heads(ops.linear(x, k_weight), num_heads);
    const Tensor k = ops.scale(rotate(ops, keys), 1 / std::sqrt(float(keys.extent(3)))).transpose(1, 2);
    const Tensor v = split_heads(ops.linear(x, v_weight), num_heads).transpose(1, 2);
    const Tensor g = ops.linear(x, g_weight), gate = gate_fn == "gelu" ? ops.gelu(g) : gate_fn == "relu" ? ops.relu(g) : ops.silu(g);
    const auto finish = [&](const Tensor& heads) {
      const Tensor normed = join_heads(ops.rms_norm(heads.transpose(1, 2), {}, float(layernorm_eps)));
      return ops.linear(ops.mul(gate, normed), out_weight);
    };
    if (wants(parallel) || form == "parallel") parallel = finish(in_parallel(ops, q, k, v));
    if (wants(chunkwise) || form == "chunkwise") chunkwise = finish(in_chunks(ops, q, k, v));
    if (wants(recurrent) || form == "recurrent") recurrent = finish(by_token(ops, q, k, v));
    out = form == "parallel" ? parallel : form == "chunkwise" ? chunkwise : recurrent;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(retnet, RetNet, "retnet", "linear", "module", 1, "Retentive Network: A Successor to Transformer for Large Language Models")
