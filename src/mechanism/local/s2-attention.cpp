// SPDX-License-Identifier: Apache-2.0
// Sparsely-sharded S2-Attention (Lin et al., 2024): causal over blocks; head h keeps key block j <= i of query block i if
//   i - j < local_blocks  or  (j + h step + 1) mod vert_stride = 0,  step = max(1, vert_stride // n_heads)
#include "mechanism/heads.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct S2Attention : Mechanism, CachedMixer {
  Tensor q, k, v, out, block_mask, chunk_blocks;
  std::int64_t block_size = 64, local_blocks = 16, vert_stride = 8;
  std::optional<std::int64_t> n_heads;
  bool homo_head = false;

  void describe(Declaration& d) override {
    d.param("block_size", block_size, "tokens a block").least(1);
    d.param("local_blocks", local_blocks, "nearest blocks kept").least(0);
    d.param("vert_stride", vert_stride, "every such block is kept everywhere").least(1);
    d.param("n_heads", n_heads, "query heads").computed("HQ");
    d.param("homo_head", homo_head, "every head keeps the same blocks");
    d.input("q", q, "B N n_heads D", "queries");
    d.input("k", k, "B N HK D", "keys");
    d.input("v", v, "B N HK D", "values");
    d.output("out", out, "B N n_heads D");
    d.output("block_mask", block_mask, "n_heads ceil(N/block_size) ceil(N/block_size)", "1 where a block is kept").of(DType::i64);
  }

  bool keeps(std::int64_t h, std::int64_t heads, std::int64_t i, std::int64_t j) const {
    const auto step = homo_head ? 0 : std::max<std::int64_t>(1, vert_stride / std::max<std::int64_t>(heads, 1));
    return j <= i && (i - j < local_blocks || (j + h * step + 1) % vert_stride == 0);
  }

  std::int64_t key_block() const override { return block_size; }
  /// A chunk that begins inside a block has blocks of one row.
  void mix_chunk(AttendOptions& o, const Chunk& c) override {
    const auto rows = c.first % block_size ? 1 : block_size, nq = (c.queries + rows - 1) / rows,
               nk = (c.keys + block_size - 1) / block_size;
    chunk_blocks = Tensor(DType::boolean, {1, c.heads, nq, nk});
    auto* at = chunk_blocks.data<std::uint8_t>();
    for (std::int64_t h = 0; h < c.heads; ++h)
      for (std::int64_t i = 0; i < nq; ++i)
        for (std::int64_t j = 0; j < nk; ++j) *at++ = keeps(h, c.heads, (c.first + i * rows) / block_size, c.from / block_size + j);
    o.blocks = BlockMask{chunk_blocks, rows, block_size};
  }

  void run(Ops& ops) override {
    const auto H = q.extent(2), nb = (q.extent(1) + block_size - 1) / block_size;
    const Tensor keep(DType::boolean, {1, H, nb, nb});
    auto* at = keep.data<std::uint8_t>();
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < nb; ++i)
        for (std::int64_t j = 0; j < nb; ++j) *at++ = keeps(h, H, i, j);
    if (wants(block_mask)) {
      block_mask = Tensor(DType::i64, {H, nb, nb});
      for (std::int64_t i = 0; i < keep.count(); ++i) block_mask.data<std::int64_t>()[i] = keep.data<std::uint8_t>()[i];
    }
    AttendOptions o;
    o.causal = true;
    o.blocks = BlockMask{keep, block_size, block_size};
    out = ops.attend(q, k, v, o).out;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(s2_attention, S2Attention, "s2-attention", "local", "op", 2,
               "Efficient LLM Training and Serving with Heterogeneous Context Sharding among Attention Heads")
