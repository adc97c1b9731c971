// SPDX-License-Identifier: Apache-2.0
// Better relative position embeddings (Huang et al., 2020), BERT's self-attention with a = table[i - j + P - 1]:
//   M4    s_ij = (q_i . k_j + q_i . a + k_j . a) / sqrt(D)
//   shaw  s_ij = (q_i . k_j + q_i . a) / sqrt(D)
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Relpos : Mechanism {
  Tensor x, key_len, wq, bq, wk, bk, wv, bv, table, out, weights;
  std::string method = "M4", position_embedding_type = "relative_key_query";
  std::optional<std::int64_t> hidden_size;
  std::int64_t num_attention_heads = 8, max_position_embeddings = 512;
  bool causal = false;

  void describe(Declaration& d) override {
    d.param("method", method, "M4, or shaw (no term of the keys)").one_of({"M4", "shaw"});
    d.param("position_embedding_type", position_embedding_type, "relative_key is shaw").one_of({"relative_key_query", "relative_key"});
    d.param("hidden_size", hidden_size, "width of x").computed("C");
    d.param("num_attention_heads", num_attention_heads, "heads").least(1);
    d.param("max_position_embeddings", max_position_embeddings, "P, most tokens").least(1);
    d.param("causal", causal, "query i sees keys j <= i");
    d.input("x", x, "B N hidden_size", "tokens");
    d.input("key_len", key_len, "B", "keys of each sequence").of(DType::i64).optional();
    d.linear("query", wq, bq, "hidden_size", "hidden_size");
    d.linear("key", wk, bk, "hidden_size", "hidden_size");
    d.linear("value", wv, bv, "hidden_size", "hidden_size");
    d.weight("distance_embedding.weight", table, "2*max_position_embeddings-1 hidden_size/num_attention_heads");
    d.output("out", out, "B N hidden_size");
    d.output("weights", weights, "B num_attention_heads N N");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), H = num_attention_heads;
    if (N > max_position_embeddings) fail("input x", "at most max_position_embeddings tokens", std::to_string(N));
    const Tensor q = split_heads(ops.linear(x, wq, bq), H), k = split_heads(ops.linear(x, wk, bk), H), v = split_heads(ops.linear(x, wv, bv), H);
    const auto S = 2 * N - 1;
    const Tensor near = ops.scale(table.slice(0, max_position_embeddings - N, S), 1 / std::sqrt(float(q.extent(3)))).transpose(0, 1);
    Tensor bias = by_distance(ops, ops.matmul(q.permute({0, 2, 1, 3}), near).dense());
    if (method == "M4" && position_embedding_type == "relative_key_query") {
      const Tensor of_keys = ops.matmul(k.permute({0, 2, 1, 3}), near).dense();
      bias = ops.add(bias, ops.strided(of_keys, {B, H, N, N}, {H * N * S, N * S, 1, S - 1}, N - 1));
    }
    AttendOptions o;
    o.causal = causal;
    Tensor mask;
    if (key_len.defined()) {
      mask = Tensor(DType::boolean, {B, 1, 1, N});
      const Tensor lengths = key_len.dense();
      for (std::int64_t b = 0; b < B; ++b)
        for (std::int64_t j = 0; j < N; ++j) mask.data<std::uint8_t>()[b * N + j] = j < lengths.data<std::int64_t>()[b];
      o.mask = mask.view();
    }
    out = join_heads(attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, {.bias = bias}));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(relpos_m1_m4, Relpos, "relpos-m1-m4", "position", "op", 2, "Better Relative Position Embeddings (methods 1-4)")
