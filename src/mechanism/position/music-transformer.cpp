// SPDX-License-Identifier: Apache-2.0
// Music Transformer (Huang et al., 2018): a learned vector a distance, shared by the heads; its scores are skewed in place.
//   s_ij = (q_i . k_j + q_i . E[max_seq - 1 - (i - j)]) / sqrt(D),  j <= i
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct MusicTransformer : Mechanism {
  Tensor x, wq, bq, wk, bk, wv, bv, wo, bo, table, out, weights;
  std::int64_t h = 4, max_seq = 2048, d = 256;
  bool causal = true;

  void describe(Declaration& declare) override {
    declare.param("h", h, "heads").least(1);
    declare.param("d", d, "width of x").least(1);
    declare.param("max_seq", max_seq, "rows of E; the last is distance 0").least(1);
    declare.param("causal", causal, "query i sees keys j <= i; distances below 0 score 0");
    declare.input("x", x, "B N d", "tokens");
    declare.linear("Wq", wq, bq, "d", "d");
    declare.linear("Wk", wk, bk, "d", "d");
    declare.linear("Wv", wv, bv, "d", "d");
    declare.linear("fc", wo, bo, "d", "d");
    declare.weight("E", table, "max_seq d/h", "distances max_seq - 1 .. 0");
    declare.output("out", out, "B N d");
    declare.output("weights", weights, "B h N N");
  }

  void run(Ops& ops) override {
    const auto N = x.extent(1);
    if (N > max_seq) fail("input x", "at most max_seq tokens", std::to_string(N));
    const Tensor q = split_heads(ops.linear(x, wq, bq), h), k = split_heads(ops.linear(x, wk, bk), h),
                 v = split_heads(ops.linear(x, wv, bv), h);
    const Tensor near = ops.scale(table.slice(0, max_seq - N, N), 1 / std::sqrt(float(q.extent(3))));
    const Tensor scores = ops.matmul(q.permute({0, 2, 1, 3}), near.transpose(0, 1)).dense();
    Tensor bias = ops.strided(scores, {x.extent(0), h, N, N}, {h * N * N, N * N, N - 1, 1}, N - 1);
    if (!causal) bias = ops.where(square_mask(N, [](auto p, auto j) { return j <= p; }), bias, ops.full({1}, 0));
    AttendOptions o;
    o.causal = causal;
    out = ops.linear(join_heads(attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, {.bias = bias})), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(music_transformer, MusicTransformer, "music-transformer", "position", "op", 1, "Music Transformer")
