// SPDX-License-Identifier: Apache-2.0
// Neural attention: a small network scores each pair of a query and a key.
//   s_ij = w3 . relu(W2 relu(W1 [q'_i ; k'_j] + b1) + b2) + b3,   q' = P_q q, k' = P_k k;  no 1/sqrt(d)
// W1's parts of q' and k' are computed once a token and added once a pair.
#include <limits>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct NeuralAttention : Mechanism {
  Tensor x, wqkv, w_q, b_q, w_k, b_k, w1, b1, w2, b2, w3, b3, wo, out, weights;
  std::optional<std::int64_t> dim, dim_head, projection_dim;
  std::int64_t heads = 8;
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("heads", heads, "heads").least(1);
    d.param("dim_head", dim_head, "width of a head").least(1).computed("dim/heads");
    d.param("projection_dim", projection_dim, "width that queries and keys are projected to").least(1).computed("dim_head//32, at least 2");
    d.param("causal", causal, "query i sees keys j <= i");
    const std::string head = dim_head ? "dim_head" : "int(dim/heads)", p = projection_dim ? "projection_dim" : "max(2," + head + "//32)";
    d.input("x", x, "B N dim", "tokens");
    d.weight("to_qkv.weight", wqkv, "3*heads*" + head + " dim", "rows ordered (width, q k v, heads), heads fastest");
    d.linear("q_proj", w_q, b_q, p, head);
    d.linear("k_proj", w_k, b_k, p, head);
    d.linear("linear1", w1, b1, p, "2*" + p);
    d.linear("linear2", w2, b2, p + "//2", p);
    d.linear("linear3", w3, b3, "1", p + "//2");
    d.weight("W_out.weight", wo, "dim heads*" + head);
    d.output("out", out, "B N dim");
    d.output("weights", weights, "B heads N N");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), H = heads, d = wo.extent(1) / H, p = w1.extent(0);
    if (N == 0) fail("input x", "at least one token", x.shape().text());
    const Tensor qkv = ops.linear(x, wqkv).reshape({B, N, d, 3, H}).permute({3, 0, 4, 1, 2});  // (3, B, H, N, d)
    const auto part = [&](std::int64_t which) { return qkv.slice(0, which, 1).reshape({B, H, N, d}); };
    const Tensor of_query = ops.linear(ops.linear(part(0), w_q, b_q), w1.slice(1, 0, p), b1);
    const Tensor of_key = ops.linear(ops.linear(part(1), w_k, b_k), w1.slice(1, p, p)).reshape({B, H, 1, N, p}), v = part(2);
    std::vector<Tensor> read, maps;
    constexpr std::int64_t block = 32;  // queries whose pairs are in memory at once
    for (std::int64_t begin = 0; begin < N; begin += block) {
      const auto n = std::min(block, N - begin);
      const Tensor pairs = ops.relu(ops.add(of_query.slice(2, begin, n).reshape({B, H, n, 1, p}), of_key));
      Tensor scores = ops.linear(ops.relu(ops.linear(pairs, w2, b2)), w3, b3).reshape({B, H, n, N});
      if (causal) scores = ops.where(ops.triangle(n, N, begin), scores, ops.full({}, -std::numeric_limits<float>::infinity()));
      maps.push_back(ops.softmax(scores, 3));
      read.push_back(ops.matmul(maps.back(), v));
      if (!wants(weights)) maps.clear();
    }
    if (wants(weights)) weights = ops.concat(maps, 2);
    out = ops.linear(join_heads(ops.concat(read, 2).permute({0, 2, 1, 3})), wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(neural_attention_ffn, NeuralAttention, "neural-attention-ffn", "dense", "module", 2,
               "Neural Attention: A Novel Mechanism for Enhanced Expressive Power in Transformer Models")
