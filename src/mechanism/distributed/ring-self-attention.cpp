// SPDX-License-Identifier: Apache-2.0
// Ring self-attention (sequence parallelism, Li et al., 2021) with its ranks in one process: keys travel once to fill whole rows of
// scores, values a second time. The released module divides its scores by sqrt(hidden_size).
#include <cmath>

#include "mechanism/heads.h"
#include "schedule/ring.h"

namespace heed::mechanism {
namespace {

struct RingSelfAttention : Mechanism {
  Tensor q, k, v, mask, hidden_states, w_qkv, b_qkv, w_dense, b_dense, out, weights, bytes_sent, score_entries;
  std::int64_t ranks = 4, element_bytes = 2;
  std::optional<double> scale;
  std::optional<std::int64_t> hidden_size, num_attention_heads;

  void describe(Declaration& d) override {
    const bool module = hidden_size || num_attention_heads;
    const std::string op = "without hidden_size", at = "with hidden_size";
    d.param("ranks", ranks, "P, owners of N/P tokens each").least(1).most(256);
    d.param("element_bytes", element_bytes, "of what travels, for bytes_sent").least(1);
    d.param("scale", scale, "of the scores").computed("D^-0.5; of the module hidden_size^-0.5");
    d.param("hidden_size", hidden_size, "width of hidden_states: the whole layer").least(1);
    d.param("num_attention_heads", num_attention_heads, "heads of the layer").least(1);
    d.input("q", q, "B N H D", "queries").when(!module, op);
    d.input("k", k, "B N H D", "keys").when(!module, op);
    d.input("v", v, "B N H D", "values").when(!module, op);
    d.input("hidden_states", hidden_states, "B N C", "tokens").when(module, at);
    d.input("mask", mask, "B N N", "true where a query may look").of(DType::boolean).optional();
    d.weight("query_key_value.weight", w_qkv, "3*C C", "a head's query, key and value rows follow each other").when(module, at);
    d.weight("query_key_value.bias", b_qkv, "3*C").when(module, at);
    d.weight("dense.weight", w_dense, "C C").when(module, at);
    d.weight("dense.bias", b_dense, "C").when(module, at);
    if (hidden_size) d.size("C", "hidden_size");
    d.output("out", out, module ? "B N C" : "B N H D");
    d.output("weights", weights, "B H N N");
    d.output("bytes_sent", bytes_sent, "ranks", "keys and values that a rank passes on").of(DType::i64);
    d.output("score_entries", score_entries, "ranks", "scores that a rank holds").of(DType::i64);
  }

  void run(Ops& ops) override {
    const bool module = hidden_states.defined();
    if (module) {
      const auto B = hidden_states.extent(0), N = hidden_states.extent(1), C = hidden_states.extent(2);
      const auto H = num_attention_heads.value_or(0);
      if (H < 1 || C % H || hidden_size.value_or(C) != C)
        fail("parameter num_attention_heads", "a divisor of hidden_size = " + std::to_string(C), std::to_string(H));
      const Tensor all = ops.linear(hidden_states, w_qkv, b_qkv).reshape({B, N, H, 3, C / H});
      const auto part = [&](std::int64_t i) { return all.slice(3, i, 1).reshape({B, N, H, C / H}); };
      q = part(0), k = part(1), v = part(2);
    }
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3);
    if (N % ranks) fail("parameter ranks", "a divisor of N = " + std::to_string(N), std::to_string(ranks));
    schedule::LocalRing ring(ranks);
    std::vector<schedule::RankTensors> parts;
    std::vector<Tensor> masks;
    for (std::int64_t r = 0; r < ranks; ++r) {
      const auto [begin, count] = schedule::span_of(r, ranks, N);
      parts.push_back({q.slice(1, begin, count), k.slice(1, begin, count), v.slice(1, begin, count), {}, {}});
      masks.push_back(mask.defined() ? mask.slice(1, begin, count).dense().reshape({B, 1, count, N}) : Tensor());
    }
    const double by = scale.value_or(1 / std::sqrt(double(module ? H * D : D)));
    const auto results = schedule::ring_self_attention(ops, ring, parts, masks, N, float(by));
    std::vector<Tensor> outs, rows;
    bytes_sent = Tensor(DType::i64, {ranks});
    score_entries = Tensor(DType::i64, {ranks});
    for (std::int64_t r = 0; r < ranks; ++r) {
      const auto& result = results[std::size_t(r)];
      outs.push_back(result.out);
      rows.push_back(result.weights);
      bytes_sent.data<std::int64_t>()[r] = result.values_sent * element_bytes;
      score_entries.data<std::int64_t>()[r] = result.weights.count();
    }
    out = ops.concat(outs, 1);
    weights = ops.concat(rows, 2);
    if (module) out = ops.linear(join_heads(out), w_dense, b_dense);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(ring_self_attention, RingSelfAttention, "ring-self-attention", "distributed", "algorithm", 1,
               "Sequence Parallelism: Long Sequence Training from System Perspective")
