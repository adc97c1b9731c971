// SPDX-License-Identifier: Apache-2.0
// Sparse Transformers (Child et al., 2019), causal, l = local_attn_ctx; all: every earlier key,
//   local    0 <= i - j < l
//   strided  (i - j) mod l = 0: l interleaved sequences of causal attention
//   fixed    j // l = i // l, or j in the head's vertsize*blocksize summary columns of any block of l
#include <algorithm>
#include <numeric>

#include "mechanism/heads.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct SparseTransformer : Mechanism, CachedMixer {
  Tensor q, k, v, out, mask, keep;
  std::string attn_mode = "strided";
  std::int64_t local_attn_ctx = 128, blocksize = 32, num_verts = 1, vertsize = 1;
  std::optional<std::int64_t> heads;

  void describe(Declaration& d) override {
    d.param("attn_mode", attn_mode, "which keys a query sees").one_of({"all", "strided", "local", "fixed"});
    d.param("local_attn_ctx", local_attn_ctx, "l").least(1);
    d.param("blocksize", blocksize, "unit of vertsize").least(1);
    d.param("heads", heads, "heads").computed("H");
    d.param("num_verts", num_verts, "groups of summary columns; head h takes h mod num_verts").least(1);
    d.param("vertsize", vertsize, "blocks of summary columns").least(1);
    d.input("q", q, "B N heads D", "queries");
    d.input("k", k, "B N heads D", "keys");
    d.input("v", v, "B N heads D", "values");
    d.output("out", out, "B N heads D");
    d.output("mask", mask, "heads N N", "true where a query looks").of(DType::boolean);
  }

  bool sees(std::int64_t h, std::int64_t i, std::int64_t j) const {
    const auto l = local_attn_ctx;
    if (j > i) return false;
    if (attn_mode == "all") return true;
    if (attn_mode == "local") return i - j < l;
    if (attn_mode == "strided") return (i - j) % l == 0;
    const auto wide = vertsize * blocksize, last = l - (h % num_verts) * wide;
    return j / l == i / l || (j % l < last && j % l >= last - wide);
  }

  AttendOptions mixing() override {
    AttendOptions o;
    if (attn_mode == "local") o.window_left = local_attn_ctx - 1;
    return o;
  }
  std::int64_t unit() const { return std::gcd(local_attn_ctx, vertsize * blocksize); }
  std::int64_t key_block() const override { return unit(); }
  /// Fixed: what a query sees besides causality is whole blocks of keys, the same for all queries of a run of l.
  void mix_chunk(AttendOptions& o, const Chunk& c) override {
    if (attn_mode == "fixed") o.blocks = fixed_blocks(c.heads, c.first, c.queries, c.from, c.keys);
  }
  BlockMask fixed_blocks(std::int64_t H, std::int64_t first, std::int64_t queries, std::int64_t from, std::int64_t keys) {
    const auto rows = std::gcd(first, local_attn_ctx), columns = unit(), R = (queries + rows - 1) / rows,
               C = (keys + columns - 1) / columns;
    keep = Tensor(DType::boolean, {1, H, R, C});
    auto* at = keep.data<std::uint8_t>();
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t r = 0; r < R; ++r)
        for (std::int64_t c = 0; c < C; ++c) {
          const auto i = first + r * rows, j = from + c * columns;
          *at++ = j / local_attn_ctx <= i / local_attn_ctx && sees(h, std::max(i, j), j);
        }
    return {keep, rows, columns};
  }
  /// Strided: whole runs of l tokens are a batch of l interleaved sequences, each causal over its own keys; so are the tokens of
  /// a run that the chunk begins or ends in.
  void read(State& state, const Tensor& x, const Tensor& keys, const Tensor& values, std::int64_t first, const View& to,
            Ops& ops) override {
    if (attn_mode != "strided") return CachedMixer::read(state, x, keys, values, first, to, ops);
    auto& full = static_cast<FullCache&>(state);
    if (full.layer.window_left >= 0) fail("way", "a model without a sliding window for strided attention", "one with");
    full.kv.append(keys, values, ops.context());
    const Tensor queries = cache::rounded(x, full.kv.dtype(), ops.context()).dense();
    const auto l = local_attn_ctx, end = first + x.extent(1);
    const auto deal = [&](View view, std::int64_t from, std::int64_t batch, std::int64_t rows) {
      view.data = static_cast<std::byte*>(view.data) + from * view.strides[1] * std::int64_t(size_of(view.dtype));
      view.shape = Shape{batch, rows, view.extent(2), view.extent(3)};
      view.strides[0] = view.strides[1], view.strides[1] *= l;
      return view;
    };
    for (auto a = first; a < end;) {
      const bool whole = a % l == 0 && end - a >= l;
      const auto runs = whole ? (end - a) / l : 1, batch = whole ? l : std::min(end, (a / l + 1) * l) - a, seen = a / l + runs;
      AttendOptions o;
      o.causal = true;
      heed::attend(deal(queries, a - first, batch, runs), deal(full.kv.keys(0, full.kv.size()), a % l, batch, seen),
                   deal(full.kv.values(0, full.kv.size()), a % l, batch, seen), deal(to, a - first, batch, runs), o, {}, ops.context());
      a += batch * runs;
    }
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2);
    // Columns further apart than there are tokens hold one each.
    const auto l = attn_mode == "strided" ? std::min(local_attn_ctx, std::max<std::int64_t>(N, 1)) : local_attn_ctx;
    // Groups of summary blocks fill a run of l.
    if (attn_mode == "fixed" && (vertsize > l || blocksize > l / vertsize || l % (vertsize * blocksize) != 0))
      fail("parameter local_attn_ctx", "a multiple of vertsize*blocksize", std::to_string(l));
    if (attn_mode == "fixed" && vertsize * blocksize > l / std::min(num_verts, std::max<std::int64_t>(H, 1)))
      fail("parameter local_attn_ctx", "at least num_verts*vertsize*blocksize", std::to_string(l));
    if (wants(mask)) {
      mask = Tensor(DType::boolean, {H, N, N});
      auto* at = mask.data<std::uint8_t>();
      for (std::int64_t h = 0; h < H; ++h)
        for (std::int64_t i = 0; i < N; ++i)
          for (std::int64_t j = 0; j < N; ++j) *at++ = sees(h, i, j);
    }
    AttendOptions o;
    o.causal = true;
    if (attn_mode == "strided") {
      const auto rows = (N + l - 1) / l;
      const auto deal = [&](const Tensor& x) {
        return ops.pad(x, 1, 0, rows * l - N)
            .reshape({B, rows, l, H, x.extent(3)})
            .permute({0, 2, 1, 3, 4})
            .reshape({B * l, rows, H, x.extent(3)});
      };
      const auto D = v.extent(3);
      out = ops.attend(deal(q), deal(k), deal(v), o).out;
      out = out.reshape({B, l, rows, H, D}).permute({0, 2, 1, 3, 4}).reshape({B, rows * l, H, D}).slice(1, 0, N);
      return;
    }
    if (attn_mode == "local")
      o.window_left = l - 1;
    else if (attn_mode == "fixed")
      o.blocks = fixed_blocks(H, 0, N, 0, N);
    out = ops.attend(q, k, v, o).out;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sparse_transformer, SparseTransformer, "sparse-transformer", "local", "op", 1,
               "Generating Long Sequences with Sparse Transformers")
