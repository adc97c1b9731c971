// SPDX-License-Identifier: Apache-2.0
// Better relative position embeddings (Huang et al., 2020), BERT's self-attention; a is the table's row of i - j:
//   M1, M2  s_ij = (q_i . k_j) a / sqrt(D), a number a distance |i - j| or an offset i - j
//   M3      s_ij = sum_c q_ic k_jc a_c / sqrt(D)
//   M4      s_ij = (q_i . k_j + q_i . a + k_j . a) / sqrt(D);  shaw leaves out k_j . a
#include <algorithm>
#include <cmath>
#include <limits>

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
    d.param("method", method, "M4, shaw (no term of the keys), or a factor of the products: M1, M2, M3")
        .one_of({"M1", "M2", "M3", "M4", "shaw"});
    d.param("position_embedding_type", position_embedding_type, "relative_key is shaw").one_of({"relative_key_query", "relative_key"});
    d.param("hidden_size", hidden_size, "width of x").computed("C");
    d.param("num_attention_heads", num_attention_heads, "heads").least(1);
    d.param("max_position_embeddings", max_position_embeddings, "P, most tokens").least(1);
    d.param("causal", causal, "query i sees keys j <= i");
    d.input("x", x, "B N hidden_size", "tokens");
    d.input("key_len", key_len, "B", "keys of each sequence").of(DType::i64).within("0", "N").between("1", "N").optional();
    d.linear("query", wq, bq, "hidden_size", "hidden_size");
    d.linear("key", wk, bk, "hidden_size", "hidden_size");
    d.linear("value", wv, bv, "hidden_size", "hidden_size");
    const std::string rows = method == "M1" ? "max_position_embeddings" : "2*max_position_embeddings-1";
    d.weight("distance_embedding.weight", table, rows + (method == "M1" || method == "M2" ? " 1" : " hidden_size/num_attention_heads"),
             "row |i - j| of M1, else i - j + P - 1");
    d.size("N", "max_position_embeddings");
    d.output("out", out, "B N hidden_size");
    d.output("weights", weights, "B num_attention_heads N N");
  }

  /// (1 or B, 1, N, N), true where a query may look; undefined where it may everywhere.
  Tensor visible(Ops& ops) const {
    const auto B = x.extent(0), N = x.extent(1);
    Tensor mask = causal ? ops.triangle(N, N).reshape({1, 1, N, N}) : Tensor();
    if (!key_len.defined()) return mask;
    const Tensor inside(DType::boolean, {B, 1, 1, N}), lengths = key_len.dense();
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t j = 0; j < N; ++j) inside.data<std::uint8_t>()[b * N + j] = j < lengths.data<std::int64_t>()[b];
    return causal ? ops.both(mask, inside) : inside;
  }

  /// The bias of M4 and of shaw; q, k (B, N, H, D).
  Tensor added(Ops& ops, const Tensor& q, const Tensor& k) const {
    const auto B = x.extent(0), N = x.extent(1), H = num_attention_heads, S = 2 * N - 1;
    const Tensor near = ops.scale(table.slice(0, max_position_embeddings - N, S), 1 / std::sqrt(float(q.extent(3)))).transpose(0, 1);
    const Tensor bias = by_distance(ops, ops.matmul(q.permute({0, 2, 1, 3}), near).dense());
    if (method == "shaw" || position_embedding_type == "relative_key") return bias;
    const Tensor of_keys = ops.matmul(k.permute({0, 2, 1, 3}), near).dense();
    return ops.add(bias, ops.strided(of_keys, {B, H, N, N}, {H * N * S, N * S, 1, S - 1}, N - 1));
  }

  /// The scores of M1 to M3 for the queries [begin, begin + n); q, k (B, H, N, D).
  Tensor multiplied(Ops& ops, const Tensor& q, const Tensor& k, std::int64_t begin, std::int64_t n) const {
    const auto B = q.extent(0), H = q.extent(1), N = q.extent(2), D = q.extent(3), P = max_position_embeddings;
    const Tensor here = ops.scale(q.slice(2, begin, n), 1 / std::sqrt(float(D)));
    if (method == "M3") {  // row (i, j) of a view of the table
      const Tensor a = ops.strided(table, {n, N, D}, {D, -D, 1}, (begin + P - 1) * D);
      const Tensor turned = ops.mul(here.reshape({B, H, n, 1, D}), a);
      return ops.sum(ops.mul(turned, k.reshape({B, H, 1, N, D})), {4});
    }
    const Tensor scores = ops.matmul(here, k.transpose(2, 3));
    if (method == "M2") return ops.mul(scores, ops.strided(table, {n, N}, {1, -1}, begin + P - 1));
    Tensor distance(DType::i64, {n, N});
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < N; ++j) distance.data<std::int64_t>()[i * N + j] = std::abs(begin + i - j);
    return ops.mul(scores, ops.embedding(table, distance).reshape({n, N}));
  }

  void run(Ops& ops) override {
    const auto N = x.extent(1), H = num_attention_heads;
    if (N > max_position_embeddings || N == 0) fail("input x", "1 to max_position_embeddings tokens", std::to_string(N));
    const Tensor q = split_heads(ops.linear(x, wq, bq), H), k = split_heads(ops.linear(x, wk, bk), H),
                 v = split_heads(ops.linear(x, wv, bv), H);
    const Tensor mask = visible(ops);
    if (method == "M4" || method == "shaw") {
      AttendOptions o;
      if (mask.defined()) o.mask = mask.view();
      out = join_heads(attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, {.bias = added(ops, q, k)}));
      return;
    }
    std::vector<Tensor> read, maps;
    constexpr std::int64_t block = 32;  // queries whose scores are in memory at once
    const auto heads_first = [](const Tensor& t) { return t.permute({0, 2, 1, 3}); };
    for (std::int64_t begin = 0; begin < N; begin += block) {
      const auto n = std::min(block, N - begin);
      Tensor scores = multiplied(ops, heads_first(q), heads_first(k), begin, n);
      if (mask.defined()) {
        const Tensor seen = mask.extent(2) == 1 ? mask : mask.slice(2, begin, n);
        scores = ops.where(seen, scores, ops.full({}, -std::numeric_limits<float>::infinity()));
      }
      const Tensor map = ops.softmax(scores, 3);
      read.push_back(ops.matmul(map, heads_first(v)));
      if (wants(weights)) maps.push_back(map);
    }
    out = join_heads(heads_first(ops.concat(read, 2)));
    if (wants(weights)) weights = ops.concat(maps, 2);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(relpos_m1_m4, Relpos, "relpos-m1-m4", "position", "op", 2,
               "Improve Transformer Models with Better Relative Position Embeddings")
