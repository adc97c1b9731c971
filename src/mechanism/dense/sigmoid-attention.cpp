// SPDX-License-Identifier: Apache-2.0
// Sigmoid self-attention (Ramapuram et al., 2024):
//   O = sigmoid(Q K^T / sqrt(D) - slope_h max(p - j, 0) + b) V,  b = -ln(Nk) for every row,  p = i + Nk - Nq
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct SigmoidAttention : Mechanism {
  Tensor q, k, v, alibi_slopes, out, weights;
  std::optional<double> sigmoid_bias;
  bool causal = false, alibi = false;
  std::vector<std::int64_t> window_size{-1, -1};
  std::optional<std::int64_t> num_heads, num_kv_heads, head_dim;

  void describe(Declaration& d) override {
    d.param("sigmoid_bias", sigmoid_bias, "added to every score").computed("-ln(Nk)");
    d.param("causal", causal, "query i sees keys j <= i + Nk - Nq");
    d.param("window_size", window_size, "[left, right]; -1 is unlimited").least(-1);
    d.param("num_heads", num_heads, "query heads").computed("H");
    d.param("num_kv_heads", num_kv_heads, "key and value heads").computed("HK");
    d.param("head_dim", head_dim, "width of a head").computed("D");
    d.param("alibi", alibi, "whether alibi_slopes are given");
    d.input("q", q, "B Nq num_heads head_dim", "queries");
    d.input("k", k, "B Nk num_kv_heads head_dim", "keys");
    d.input("v", v, "B Nk num_kv_heads head_dim", "values");
    d.input("alibi_slopes", alibi_slopes, "num_heads", "adds -slope * max(p - j, 0)").when(alibi, "alibi");
    d.output("out", out, "B Nq num_heads head_dim");
    d.output("weights", weights, "B num_heads Nq Nk");
  }

  void run(Ops& ops) override {
    const auto N = q.extent(1), H = q.extent(2), M = k.extent(1);
    if (window_size.size() != 2) fail("parameter window_size", "[left, right]", std::to_string(window_size.size()) + " numbers");
    AttendOptions o;
    o.causal = causal;
    o.window_left = window_size[0];
    o.window_right = window_size[1];
    o.weighting = Weighting::sigmoid;
    const float b = sigmoid_bias ? float(*sigmoid_bias) : -std::log(float(M));
    ScoreTerms terms{.bias = ops.full({1, 1, 1, 1}, b)};
    if (alibi && (causal || o.window_right == 0)) {
      terms.alibi_slopes = alibi_slopes;
    } else if (alibi) {  // later keys lose nothing
      const Tensor before(DType::f32, {N, M});
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t j = 0; j < M; ++j) before.data<float>()[i * M + j] = float(std::max<std::int64_t>(i + M - N - j, 0));
      terms.bias = ops.shift(ops.neg(ops.mul(alibi_slopes.reshape({1, H, 1, 1}), before)), b);
    }
    out = attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, terms);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sigmoid_attention, SigmoidAttention, "sigmoid-attention", "dense", "op", 1,
               "Theory, Analysis, and Best Practices for Sigmoid Self-Attention")
