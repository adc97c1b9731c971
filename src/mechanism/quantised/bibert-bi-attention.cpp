// SPDX-License-Identifier: Apache-2.0
// BiBERT's bi-attention (Qin et al., 2022), everything one bit:
//   s = sign(q) sign(k)^T / sqrt(D) + mask,   a = [s > 0],   out = a sign(v)            (a score of 0 looks away, as released)
// Module: q, k, v = (mean|W| sign(W - mean W)) sign(x) + b, row by row. Gradients as
// released: the signs of q, k, v and s pass them where |value| < 1, those of x and the weights where |value| <= 1, without the scale.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct BiAttention : Mechanism {
  Tensor q, k, v, x, attention_mask, wq, bq, wk, bk, wv, bv, out, scores;
  std::int64_t num_attention_heads = 12, input_bits = 1, weight_bits = 1;
  std::optional<std::int64_t> attention_head_size;

  void describe(Declaration& d) override {
    d.param("num_attention_heads", num_attention_heads, "heads").least(1);
    d.param("attention_head_size", attention_head_size, "width of a head").least(1).computed("D");
    d.param("input_bits", input_bits, "of what a linear reads").least(1).most(1);
    d.param("weight_bits", weight_bits, "of a linear's weights").least(1).most(1);
    d.input("q", q, "B N num_attention_heads attention_head_size", "queries").optional().sample();
    d.input("k", k, "B N num_attention_heads attention_head_size", "keys").optional().sample();
    d.input("v", v, "B N num_attention_heads attention_head_size", "values").optional().sample();
    d.input("x", x, "B N C", "tokens, in place of q, k and v").optional();
    d.input("attention_mask", attention_mask, "B 1 1 N", "added to the scores").no_gradient().optional();
    for (auto [name, weight, bias] : {std::tuple("query", &wq, &bq), {"key", &wk, &bk}, {"value", &wv, &bv}}) {
      d.weight(std::string(name) + ".weight", *weight, "C C").optional();
      d.weight(std::string(name) + ".bias", *bias, "C").optional();
    }
    for (const char* rest : {"*.scale", "*.weight_clip_val", "*.act_clip_val", "clip_*"}) d.ignore(rest);
    d.output("out", out, "*out", "B N H D, of tokens B N C");
    d.output("scores", scores, "B num_attention_heads N N");
  }

  /// `hard`, with the gradient of x where |x| < 1.
  static Tensor inside(const Ops& ops, const Tensor& hard, const Tensor& x) {
    return ops.straight_through(hard, ops.where(ops.less(ops.abs(x), ops.full({}, 1)), x, ops.full({}, 0)));
  }

  static Tensor linear(const Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias) {
    if (!weight.defined() || !bias.defined())
      fail("weight query, key, value", "weight and bias of each where x is given", "one is missing");
    const Tensor centred = ops.sub(weight, ops.mean(weight, {1}, true)), size = ops.mean(ops.abs(weight), {1}, true);
    const Tensor binary = ops.straight_through(ops.mul(ops.sign(centred), size), ops.clamp(centred, -1, 1));
    return ops.linear(ops.straight_through(ops.sign(x), ops.clamp(x, -1, 1)), binary, bias);
  }

  void run(Ops& ops) override {
    if (x.defined() == (q.defined() || k.defined() || v.defined())) fail("input x", "either x, or q, k and v", "both or none");
    if (x.defined()) {
      q = split_heads(linear(ops, x, wq, bq), num_attention_heads);
      k = split_heads(linear(ops, x, wk, bk), num_attention_heads);
      v = split_heads(linear(ops, x, wv, bv), num_attention_heads);
      if (const auto D = q.extent(3); attention_head_size.value_or(D) != D)
        fail("parameter attention_head_size", std::to_string(D), std::to_string(*attention_head_size));
    }
    if (!q.defined() || !k.defined() || !v.defined()) fail("input q", "q, k and v", "one is missing");
    const auto rows = [&](const Tensor& t) { return inside(ops, ops.sign(t), t).permute({0, 2, 1, 3}); };
    scores = ops.scale(ops.matmul(rows(q), rows(k).transpose(2, 3)), 1 / std::sqrt(float(q.extent(3))));
    if (attention_mask.defined()) scores = ops.add(scores, attention_mask);
    const Tensor none = ops.full({}, 0), look = ops.where(ops.less(none, scores), ops.full({}, 1), none);
    out = ops.matmul(inside(ops, look, scores), rows(v)).permute({0, 2, 1, 3});
    if (x.defined()) out = join_heads(out);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(bibert_bi_attention, BiAttention, "bibert-bi-attention", "quantised", "op", 2, "BiBERT: Accurate Fully Binarized BERT")
