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
    Tensor bias = Tensor::of({b}, {1, 1, 1, 1});
    if (alibi && (causal || o.window_right == 0)) o.alibi_slopes = alibi_slopes.view();
    else if (alibi) {
      bias = Tensor(DType::f32, {1, H, N, M});
      const Tensor slopes = alibi_slopes.dense();
      float* at = bias.data<float>();
      for (std::int64_t h = 0; h < H; ++h)
        for (std::int64_t i = 0; i < N; ++i)
          for (std::int64_t j = 0; j < M; ++j) *at++ = b - slopes.data<float>()[h] * float(std::max<std::int64_t>(i + M - N - j, 0));
    }
    o.bias = bias.view();
    out = attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sigmoid_attention, SigmoidAttention, "sigmoid-attention", "dense", "op", 1, "Sigmoid self-attention (FlashSigmoid)")
