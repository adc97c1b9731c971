// SPDX-License-Identifier: Apache-2.0
// Mixture of block attention (Lu et al., 2025): a query sees its own block up to itself, and the past blocks whose mean key it likes best,
//   gate_b = q . mean(K_b),  one softmax over the keys of the chosen blocks.
#include <algorithm>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Moba : Mechanism {
  Tensor q, k, v, cu_seqlens, out, selected;
  std::int64_t moba_chunk_size = 512, moba_topk = 3;

  void describe(Declaration& d) override {
    d.param("moba_chunk_size", moba_chunk_size, "keys a block").least(1);
    d.param("moba_topk", moba_topk, "blocks a query sees, its own among them").least(1);
    d.input("q", q, "1 S H D", "queries");
    d.input("k", k, "1 S G D", "keys; query head h reads head h // (H/G)");
    d.input("v", v, "1 S G E", "values");
    d.input("cu_seqlens", cu_seqlens, "bounds", "where packed sequences begin, and S")
        .of(DType::i64)
        .example({"i*S//(bounds-1)"})
        .optional();
    d.size("bounds", "5");
    d.output("out", out, "1 S H E");
    d.output("selected", selected, "S H blocks", "blocks seen, counted from the start of the sequence").of(DType::boolean);
  }

  std::vector<std::int64_t> bounds() const {
    const auto S = q.extent(1);
    if (!cu_seqlens.defined()) return {0, S};
    std::vector<std::int64_t> at;
    for (std::int64_t i = 0; i < cu_seqlens.count(); ++i) {
      at.push_back(cu_seqlens.data<std::int64_t>()[i * cu_seqlens.stride(0)]);
      if (at[std::size_t(i)] < (i ? at[std::size_t(i - 1)] : 0))
        fail("input cu_seqlens", "bounds that do not fall", std::to_string(at[std::size_t(i)]));
    }
    if (at.empty() || at.front() != 0 || at.back() != S)
      fail("input cu_seqlens", "0 to " + std::to_string(S),
           at.empty() ? "none" : std::to_string(at.front()) + " to " + std::to_string(at.back()));
    return at;
  }

  /// (1, H, n, blocks): what each query of a sequence sees.
  Tensor choose(const Ops& ops, const Tensor& queries, const Tensor& keys) const {
    const auto n = queries.extent(1), H = queries.extent(2), whole = n / moba_chunk_size,
               blocks = (n + moba_chunk_size - 1) / moba_chunk_size;
    const Tensor keep = Tensor::zeros(DType::boolean, {1, H, n, blocks});
    const auto G = keys.extent(2), D = keys.extent(3);
    Tensor gate;
    if (whole > 0 && moba_topk > 1) {
      const Tensor means = ops.mean(keys.slice(1, 0, whole * moba_chunk_size).reshape({whole, moba_chunk_size, G, D}), {1});
      gate = ops.matmul(queries.reshape({n, H, D}).permute({1, 0, 2}), ops.repeat(means, 1, H / G).permute({1, 2, 0}));
    }
    std::vector<std::int64_t> past;
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < n; ++i) {
        auto* row = keep.data<std::uint8_t>() + (h * n + i) * blocks;
        const std::int64_t own = i / moba_chunk_size, count = std::min(moba_topk - 1, own);
        row[own] = 1;
        if (count == 0) continue;
        const float* score = gate.data<float>() + (h * n + i) * whole;
        past.resize(std::size_t(own));
        for (std::int64_t b = 0; b < own; ++b) past[std::size_t(b)] = b;
        std::partial_sort(past.begin(), past.begin() + count, past.end(),
                          [&](auto a, auto b) { return score[a] > score[b] || (score[a] == score[b] && a < b); });
        for (std::int64_t b = 0; b < count; ++b) row[past[std::size_t(b)]] = 1;
      }
    return keep;
  }

  void run(Ops& ops) override {
    const auto at = bounds();
    const auto S = q.extent(1), H = q.extent(2);
    if (k.extent(2) < 1 || H % k.extent(2)) fail("input k", "heads that divide " + std::to_string(H), std::to_string(k.extent(2)));
    std::vector<Tensor> parts;
    std::int64_t longest = 0;
    for (std::size_t s = 0; s + 1 < at.size(); ++s) longest = std::max(longest, at[s + 1] - at[s]);
    const auto blocks = (longest + moba_chunk_size - 1) / moba_chunk_size;
    selected = Tensor::zeros(DType::boolean, {S, H, blocks});
    for (std::size_t s = 0; s + 1 < at.size(); ++s) {
      const auto begin = at[s], n = at[s + 1] - begin;
      if (n == 0) continue;
      const Tensor queries = q.slice(1, begin, n), keys = k.slice(1, begin, n);
      const Tensor keep = choose(ops, ops.no_gradient(queries, "choice of blocks"), ops.no_gradient(keys, "choice of blocks"));
      AttendOptions o;
      o.causal = true;
      o.blocks = BlockMask{keep, 1, moba_chunk_size};
      parts.push_back(ops.attend(queries, keys, v.slice(1, begin, n), o).out);
      const auto own = keep.extent(3);
      for (std::int64_t h = 0; h < H; ++h)
        for (std::int64_t i = 0; i < n; ++i)
          std::copy_n(keep.data<std::uint8_t>() + (h * n + i) * own, own, selected.data<std::uint8_t>() + ((begin + i) * H + h) * blocks);
    }
    out = parts.empty() ? Tensor::zeros(DType::f32, {1, 0, H, v.extent(3)}) : ops.concat(parts, 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(moba, Moba, "moba", "sparse", "op", 1, "MoBA: Mixture of Block Attention for Long-Context LLMs")
