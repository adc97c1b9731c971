// SPDX-License-Identifier: Apache-2.0
// Multi-query attention (Shazeer, 2019): H query heads share one key and value head; the layout of GPT-BigCode.
//   [q | k | v] = c_attn(x),  O_h = softmax(q_h K^T / sqrt(D)) V,  out = c_proj(O)
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Mqa : Mechanism {
  Tensor x, past_kv, c_attn, c_attn_bias, c_proj, c_proj_bias, out, weights, kv;
  std::optional<std::int64_t> hidden_size;
  std::int64_t num_attention_heads = 8, num_kv_heads = 1, past = 0;
  bool causal = true;

  void describe(Declaration& d) override {
    d.param("hidden_size", hidden_size, "width of x").computed("E");
    d.param("num_attention_heads", num_attention_heads, "query heads").least(1);
    d.param("num_kv_heads", num_kv_heads, "key and value heads").least(1).most(1);
    d.param("causal", causal, "query i sees the keys 0..past+i");
    d.param("past", past, "tokens in past_kv").least(0);
    d.input("x", x, "B N hidden_size", "tokens");
    d.input("past_kv", past_kv, "B past 2*hidden_size/num_attention_heads", "[k | v] of earlier tokens").when(past > 0, "past>0");
    d.weight("c_attn.weight", c_attn, "hidden_size+2*hidden_size/num_attention_heads hidden_size");
    d.weight("c_attn.bias", c_attn_bias, "hidden_size+2*hidden_size/num_attention_heads");
    d.weight("c_proj.weight", c_proj, "hidden_size hidden_size");
    d.weight("c_proj.bias", c_proj_bias, "hidden_size");
    d.output("out", out, "B N hidden_size");
    d.output("weights", weights, "B num_attention_heads N past+N");
    d.output("kv", kv, "B past+N 2*hidden_size/num_attention_heads", "the cache after the call");
  }

  void run(Ops& ops) override {
    const auto E = x.extent(2), D = E / num_attention_heads;
    const Tensor qkv = ops.linear(x, c_attn, c_attn_bias);
    kv = qkv.slice(2, E, 2 * D);
    if (past > 0) kv = ops.concat({past_kv, kv}, 1);
    const auto head = [&](std::int64_t begin) { return split_heads(kv.slice(2, begin, D), 1); };
    AttendOptions o;
    o.causal = causal;
    const Tensor q = split_heads(qkv.slice(2, 0, E), num_attention_heads);
    out = ops.linear(join_heads(attend_into(ops, q, head(0), head(D), o, wants(weights) ? &weights : nullptr)), c_proj, c_proj_bias);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(mqa, Mqa, "mqa", "heads", "op", 1, "Fast Transformer Decoding: One Write-Head is All You Need")
