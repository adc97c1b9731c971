// SPDX-License-Identifier: Apache-2.0
// Linformer (Wang et al., 2020): keys and values of all tokens are mixed to k rows by learned E and F before the scores.
//   out = softmax(q (E^T k)^T / sqrt(d)) (F^T v) W_o;  a sequence shorter than seq_len takes the first rows of E and F
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Linformer : Mechanism {
  Tensor x, context, wq, wk, wv, proj_k, proj_v, wo, bo, out;
  std::optional<std::int64_t> dim, seq_len, dim_head;
  std::int64_t k = 256, heads = 8;
  bool one_kv_head = false, share_kv = false;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("seq_len", seq_len, "most tokens: rows of proj_k");
    d.param("k", k, "rows that keys and values are mixed to").least(1);
    d.param("heads", heads, "query heads").least(1);
    d.param("dim_head", dim_head, "width of a head").least(1).computed("dim/heads");
    d.param("one_kv_head", one_kv_head, "one head of keys and values serves every query head");
    d.param("share_kv", share_kv, "values are the keys, F is E");
    const std::string head = dim_head ? "dim_head" : "int(dim/heads)", inner = "heads*" + head, kv = one_kv_head ? head : inner;
    d.input("x", x, "B N dim", "tokens");
    d.input("context", context, "B M dim", "keys and values come from it, else from x").optional();
    d.weight("to_q.weight", wq, inner + " dim");
    d.weight("to_k.weight", wk, kv + " dim");
    d.weight("to_v.weight", wv, kv + " dim").when(!share_kv, "share_kv=false");
    d.weight("proj_k", proj_k, "seq_len k", "E");
    d.weight("proj_v", proj_v, "seq_len k", "F").when(!share_kv, "share_kv=false");
    d.linear("to_out", wo, bo, "dim", inner);
    d.size("seq_len", "max(N,M)");
    d.output("out", out, "B N dim");
  }

  void run(Ops& ops) override {
    const Tensor from = context.defined() ? context : x;
    const auto M = from.extent(1);
    if (M > proj_k.extent(0)) fail(context.defined() ? "input context" : "input x", "at most seq_len tokens", std::to_string(M));
    const auto mixed = [&](const Tensor& weight, const Tensor& mix) {
      const Tensor rows = ops.matmul(mix.slice(0, 0, M).transpose(0, 1), ops.linear(from, weight));
      return split_heads(rows, one_kv_head ? 1 : heads);
    };
    const Tensor q = split_heads(ops.linear(x, wq), heads), key = mixed(wk, proj_k);
    out = ops.linear(join_heads(ops.attend(q, key, share_kv ? key : mixed(wv, proj_v)).out), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(linformer, Linformer, "linformer", "lowrank", "module", 1, "Linformer: Self-Attention with Linear Complexity")
