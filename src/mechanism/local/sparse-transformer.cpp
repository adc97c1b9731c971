// SPDX-License-Identifier: Apache-2.0
// Sparse Transformers (Child et al., 2019), causal, l = local_attn_ctx:
//   local    0 <= i - j < l
//   strided  (i - j) mod l = 0: l interleaved sequences of causal attention
//   fixed    j // l = i // l, or j in the head's vertsize*blocksize summary columns of any block of l
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct SparseTransformer : Mechanism {
  Tensor q, k, v, out, mask;
  std::string attn_mode = "strided";
  std::int64_t local_attn_ctx = 128, blocksize = 32, num_verts = 1, vertsize = 1;
  std::optional<std::int64_t> heads;

  void describe(Declaration& d) override {
    d.param("attn_mode", attn_mode, "which keys a query sees").one_of({"strided", "local", "fixed"});
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
    if (attn_mode == "local") return i - j < l;
    if (attn_mode == "strided") return (i - j) % l == 0;
    const auto wide = vertsize * blocksize, last = l - (h % num_verts) * wide;
    return j / l == i / l || (j % l < last && j % l >= last - wide);
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), l = local_attn_ctx;
    if (wants(mask) || attn_mode == "fixed") {
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
        return ops.pad(x, 1, 0, rows * l - N).reshape({B, rows, l, H, x.extent(3)}).permute({0, 2, 1, 3, 4}).reshape({B * l, rows, H, x.extent(3)});
      };
      const auto D = v.extent(3);
      out = ops.attend(deal(q), deal(k), deal(v), o).out;
      out = out.reshape({B, l, rows, H, D}).permute({0, 2, 1, 3, 4}).reshape({B, rows * l, H, D}).slice(1, 0, N);
      return;
    }
    Tensor masked;
    if (attn_mode == "local") o.window_left = l - 1;
    else {
      masked = mask.reshape({1, H, N, N});
      o.mask = masked.view();
    }
    out = ops.attend(q, k, v, o).out;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sparse_transformer, SparseTransformer, "sparse-transformer", "local", "op", 1, "Sparse Transformers (strided, fixed)")
