// SPDX-License-Identifier: Apache-2.0
// Attention over a sequence that is split over a ring of ranks. The algorithm works on the ranks that live in this process: all
// of them, or one of several processes; a Ring moves blocks to the next rank.
#pragma once
#include <vector>

#include "heed/ops.h"

namespace heed::schedule {

using Block = std::vector<Tensor>;

class Ring {
 public:
  virtual ~Ring() = default;
  virtual std::int64_t ranks() const = 0;
  virtual std::vector<std::int64_t> here() const = 0;
  /// Starts to pass each local rank's block to the next rank; wait() gives what the previous ones passed, whose shapes are known.
  virtual void pass(const std::vector<Block>& blocks, const std::vector<std::vector<Shape>>& coming) = 0;
  virtual std::vector<Block> wait() = 0;
};

/// All ranks in this process.
class LocalRing : public Ring {
 public:
  explicit LocalRing(std::int64_t ranks) : ranks_(ranks) {}
  std::int64_t ranks() const override { return ranks_; }
  std::vector<std::int64_t> here() const override;
  void pass(const std::vector<Block>& blocks, const std::vector<std::vector<Shape>>&) override { passed_ = blocks; }
  std::vector<Block> wait() override;

 private:
  std::int64_t ranks_;
  std::vector<Block> passed_;
};

/// Tokens of a rank: the sequence in blocks of ceil(N / ranks), the last ones shorter or empty.
struct Span {
  std::int64_t begin, count;
};
Span span_of(std::int64_t rank, std::int64_t ranks, std::int64_t tokens);

/// What a rank holds: q (B, n, H, D), k and v (B, n, Hk, D or E), and where given an additive bias (B, 1, 1, n) and segments (B, n) i64
/// of its own tokens.
struct RankTensors {
  Tensor q, k, v, bias, segments;
};

struct RankResult {
  Attended sum;                                  ///< out (B, n, H, E) and lse (B, H, n), natural
  std::vector<std::int64_t> resident, computed;  ///< by step: the block of keys; whether it was looked at
  std::int64_t values_sent = 0;                  ///< elements of k and v that it passed on
};

/// The shapes of a rank's tensors when they are another rank's, with `keys` tokens.
std::vector<Shape> shapes_with(const Block& mine, std::int64_t keys);
/// The rank whose block is there after some steps.
std::int64_t resident_of(std::int64_t rank, std::int64_t step, std::int64_t ranks);
/// Which pairs of a query span and a key span may look at each other: an undefined tensor where all may.
Tensor visible_pairs(Span q, Span k, std::int64_t causal_block, const Tensor& query_segments, const Tensor& key_segments);

/// Ring attention (Liu et al., 2023): keys and values travel, partial results are merged in the order they pass. Query i sees key j
/// where i / causal_block >= j / causal_block (0: everywhere) and their segments are equal. `tokens` is the whole sequence's length.
std::vector<RankResult> ring_attention(const Ops& ops, Ring& ring, const std::vector<RankTensors>& local, std::int64_t tokens,
                                       std::int64_t causal_block = 0);

struct TwoPassResult {
  Tensor out, weights;  ///< (B, n, H, E), (B, H, n, N)
  std::int64_t values_sent = 0;
};

/// Ring self-attention (Li et al., 2021): keys travel once to fill whole rows of scores, values a second time. `mask` (B, 1, n, N) of
/// each local rank, or undefined.
std::vector<TwoPassResult> ring_self_attention(const Ops& ops, Ring& ring, const std::vector<RankTensors>& local,
                                               const std::vector<Tensor>& masks, std::int64_t tokens, float scale);

}  // namespace heed::schedule
