// SPDX-License-Identifier: Apache-2.0
// Ring attention (Liu et al., 2023) with its ranks in one process: exact attention while blocks of keys and values travel.
#include <algorithm>

#include "mechanism/mechanism.h"
#include "schedule/ring.h"

namespace heed::mechanism {
namespace {

struct RingAttention : Mechanism {
  Tensor q, k, v, attn_bias, segment_ids, out, lse, resident, computed, bytes_sent;
  std::int64_t ranks = 4, element_bytes = 2;
  std::optional<std::int64_t> causal_block_size;

  void describe(Declaration& d) override {
    d.param("ranks", ranks, "P, owners of a block of ceil(N/P) tokens each").least(1).most(256);
    d.param("causal_block_size", causal_block_size, "query i sees keys with j // size <= i // size; null: all").least(1);
    d.param("element_bytes", element_bytes, "of what travels, for bytes_sent").least(1);
    d.input("q", q, "B N H D", "queries");
    d.input("k", k, "B N Hk D", "keys; query head h reads head h // (H/Hk)");
    d.input("v", v, "B N Hk D", "values");
    d.input("attn_bias", attn_bias, "B 1 1 N", "added to the scores").optional();
    d.input("segment_ids", segment_ids, "B N", "a query sees the keys of its own segment").of(DType::i64).example({"i%N*4//N"}).optional();
    d.output("out", out, "B N H D");
    d.output("lse", lse, "B N H", "natural log-sum-exp");
    d.output("resident", resident, "ranks ranks", "(rank, step): the block of keys that is there").of(DType::i64);
    d.output("computed", computed, "ranks ranks", "0 where the causal rule hides the pair of blocks").of(DType::i64);
    d.output("bytes_sent", bytes_sent, "ranks", "keys and values that a rank passes on").of(DType::i64);
  }

  void run(Ops& ops) override {
    const auto N = q.extent(1);
    schedule::LocalRing ring(ranks);
    std::vector<schedule::RankTensors> parts;
    for (std::int64_t r = 0; r < ranks; ++r) {
      const auto [begin, count] = schedule::span_of(r, ranks, N);
      const auto cut = [&, begin = begin, count = count](const Tensor& x, int axis) {
        return x.defined() ? x.slice(axis, begin, count) : x;
      };
      parts.push_back({cut(q, 1), cut(k, 1), cut(v, 1), cut(attn_bias, 3), cut(segment_ids, 1)});
    }
    const auto results = schedule::ring_attention(ops, ring, parts, N, causal_block_size.value_or(0));
    std::vector<Tensor> outs, lses;
    resident = Tensor(DType::i64, {ranks, ranks});
    computed = Tensor(DType::i64, {ranks, ranks});
    bytes_sent = Tensor(DType::i64, {ranks});
    for (std::int64_t r = 0; r < ranks; ++r) {
      const auto& result = results[std::size_t(r)];
      outs.push_back(result.sum.out);
      lses.push_back(result.sum.lse);
      std::copy(result.resident.begin(), result.resident.end(), resident.data<std::int64_t>() + r * ranks);
      std::copy(result.computed.begin(), result.computed.end(), computed.data<std::int64_t>() + r * ranks);
      bytes_sent.data<std::int64_t>()[r] = result.values_sent * element_bytes;
    }
    out = ops.concat(outs, 1);
    lse = ops.concat(lses, 2).transpose(1, 2);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(ring_attention, RingAttention, "ring-attention", "distributed", "algorithm", 1,
               "Ring Attention with Blockwise Transformers for Near-Infinite Context")
