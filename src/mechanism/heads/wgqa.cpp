// SPDX-License-Identifier: Apache-2.0
// Weighted grouped-query attention (Chinnakonduru & Mohapatra, 2024): keys and values of a group are weighted sums of
// the heads of a multi-head model, folded into its matrices.
//   Wk_g = sum over heads h of group g of w_h * Wk_h,  Wv_g likewise;  out = o(softmax(scale q k^T + bias) v)
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Wgqa : Mechanism {
  Tensor x, memory, bias, wq, wk, wv, wo, mix_k, mix_v, out, weights, k_folded, v_folded;
  std::string kind = "wgqa";
  std::int64_t num_heads = 8, num_kv_heads = 4;
  std::optional<std::int64_t> d_kv;
  double scale = 1;
  bool causal = false;

  void describe(Declaration& d) override {
    d.param("kind", kind, "one number a head, a column (d_kv) or a row (C) of it").one_of({"wgqa", "col", "row"});
    d.param("num_heads", num_heads, "query heads").least(1);
    d.param("num_kv_heads", num_kv_heads, "groups").least(1);
    d.param("d_kv", d_kv, "width of a head").computed("D");
    d.param("scale", scale, "of the scores");
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.input("x", x, "B N C", "tokens");
    d.input("memory", memory, "B M C", "what is looked at; x unless given").optional();
    d.input("bias", bias, "num_heads N M", "added to the scores").optional();
    d.weight("q.weight", wq, "HD C");
    d.weight("k.weight", wk, "HD C");
    d.weight("v.weight", wv, "HD C");
    d.weight("o.weight", wo, "C HD");
    const std::string each = kind == "wgqa" ? "1" : kind == "col" ? "HD/num_heads" : "C";
    d.weight("params.wk", mix_k, "num_heads " + each);
    d.weight("params.wv", mix_v, "num_heads " + each);
    d.size("HD", d_kv ? "num_heads*d_kv" : "C");
    d.output("out", out, "B N C");
    d.output("weights", weights, "B num_heads N M");
    d.output("k_folded", k_folded, "num_kv_heads*d_kv C");
    d.output("v_folded", v_folded, "num_kv_heads*d_kv C");
  }

  Tensor fold(const Ops& ops, const Tensor& weight, const Tensor& mix) const {
    const auto D = weight.extent(0) / num_heads, C = weight.extent(1);
    const Tensor factor = kind == "row" ? mix.reshape({num_heads, 1, C}) : mix.reshape({num_heads, mix.extent(1), 1});
    const Tensor mixed = ops.mul(weight.reshape({num_heads, D, C}), factor);
    return ops.sum(mixed.reshape({num_kv_heads, num_heads / num_kv_heads, D, C}), {1}).reshape({num_kv_heads * D, C});
  }

  void run(Ops& ops) override {
    if (num_heads % num_kv_heads || wq.extent(0) != num_heads * d_kv.value_or(wq.extent(0) / num_heads))
      fail("parameter num_heads", "a multiple of num_kv_heads, num_heads * d_kv rows", std::to_string(num_heads));
    k_folded = fold(ops, wk, mix_k);
    v_folded = fold(ops, wv, mix_v);
    const Tensor& from = memory.defined() ? memory : x;
    AttendOptions o;
    o.scale = float(scale);
    o.causal = causal;
    const Tensor added = bias.defined() ? bias.reshape({1, bias.extent(0), bias.extent(1), bias.extent(2)}) : Tensor();
    const Tensor q = split_heads(ops.linear(x, wq), num_heads);
    const Tensor k = split_heads(ops.linear(from, k_folded), num_kv_heads), v = split_heads(ops.linear(from, v_folded), num_kv_heads);
    out = ops.linear(join_heads(attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, {.bias = added})), wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(wgqa, Wgqa, "wgqa", "heads", "module", 2, "Weighted Grouped Query Attention in Transformers")
