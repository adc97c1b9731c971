// SPDX-License-Identifier: Apache-2.0
// The difference of two softmax maps (Ye et al., 2024): heads 2h and 2h+1 of q and k are the two maps of pair h,
//   x = (A1 - lambda A2) v,  out = rms_norm(x) (1 - lambda_init),  lambda = exp(lq1.lk1) - exp(lq2.lk2) + lambda_init.
#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct DifferentialAttention : CausalAttention {
  Tensor q1, k1, q2, k2, norm;
  std::int64_t layer_idx = 0;

  void describe(Declaration& d) override {
    d.input("q", q, "B N 2*H D", "queries of both maps, alternating");
    d.input("k", k, "B M 2*G D", "keys of both maps, alternating");
    d.input("v", v, "B M G E", "values");
    d.input("bias", bias, "*broadcast", "added to the scores of both maps").optional();
    d.input("mask", mask, "*visible", "true where a query may look").of(DType::boolean).optional();
    d.input("key_lengths", key_lengths, "B", "keys of each sequence").of(DType::i64).within("0", "M").between("1", "M").optional();
    d.input("query_lengths", query_lengths, "B", "queries of each sequence").of(DType::i64).within("0", "N").between("1", "N").optional();
    d.param("layer_idx", layer_idx, "lambda_init = 0.8 - 0.6 exp(-0.3 layer_idx)").least(0);
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.param("window", window, "[left, right]; -1 is unlimited").least(-1);
    options(d);
    for (auto [name, tensor] : {std::pair{"lambda_q1", &q1}, {"lambda_k1", &k1}, {"lambda_q2", &q2}, {"lambda_k2", &k2}})
      d.weight(name, *tensor, "D");
    d.weight("subln.weight", norm, "E");
    d.size("*broadcast", "1 H N M");
    d.size("*visible", "1 1 N M");
    d.output("out", out, "B N H E");
  }

  void run(Ops& ops) override {
    if (q.extent(2) % 2) fail("input q", "an even number of heads", q.shape().text());
    if (k.extent(2) != 2 * v.extent(2)) fail("input k", "twice the heads of v", k.shape().text());
    const double start = 0.8 - 0.6 * std::exp(-0.3 * double(layer_idx));
    const auto dot = [&](const Tensor& a, const Tensor& b) { return ops.exp(ops.sum(ops.mul(a, b), {0})); };
    const Tensor lambda = ops.shift(ops.sub(dot(q1, k1), dot(q2, k2)), float(start));
    // One map: every second head.
    const auto map = [&](std::int64_t which) {
      const auto half = [which](const Tensor& x) {
        return x.reshape({x.extent(0), x.extent(1), x.extent(2) / 2, 2, x.extent(3)})
            .slice(3, which, 1)
            .reshape({x.extent(0), x.extent(1), x.extent(2) / 2, x.extent(3)});
      };
      attend(ops, half(q), half(k), v, attend_options());
      return out;
    };
    const Tensor first = map(0);
    const Tensor x = ops.sub(first, ops.mul(map(1), lambda));
    out = ops.scale(ops.rms_norm(x, norm, 1e-5f), float(1 - start));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(differential_attention, DifferentialAttention, "differential-attention", "dense", "op", 1, "")
