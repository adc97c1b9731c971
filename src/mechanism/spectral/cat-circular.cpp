// SPDX-License-Identifier: Apache-2.0
// CAT, circular-convolutional attention: one softmax z over the tokens is rolled along with the query, in O(N log N).
//   cat           out_i = sum_j z[(j - i) mod N] v_j,   z = softmax_n(W_A x)
//   averaged_key  the same with z = softmax_n(q_n . mean_j k_j / sqrt(D)); j runs over the context
//   causal        out_i = sum_{j <= i} z[(j - i) mod N] v_j, not normalised again
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct CatCircular : Mechanism {
  Tensor x, context, wa, ba, wq, bq, wk, bk, wv, bv, wo, bo, out, divided;
  std::string kind = "cat";
  std::optional<std::int64_t> dim;
  std::int64_t num_heads = 8;
  bool qkv_bias = false;

  void describe(Declaration& d) override {
    d.param("kind", kind, "where the scores come from, and what is seen").one_of({"cat", "averaged_key", "causal"});
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("qkv_bias", qkv_bias, "biases of all projections but the last");
    const bool averaged = kind == "averaged_key";
    d.input("x", x, "B N dim", "tokens");
    d.input("context", context, "B M dim", "keys and values come from it, else from x").optional().when(averaged, "kind=averaged_key");
    if (averaged) {
      d.linear("W_Q", wq, bq, "dim", "dim", qkv_bias);
      d.linear("W_K", wk, bk, "dim", "dim", qkv_bias);
    } else {
      d.linear("W_A", wa, ba, "num_heads", "dim", qkv_bias);
    }
    d.linear("W_V", wv, bv, "dim", "dim", qkv_bias);
    d.linear("proj", wo, bo, "dim", "dim");
    d.output("out", out, "B N dim");
    d.output("out_divided_by_n", divided, "B N dim", "with the heads divided by N, as the library does");
  }

  /// (B, N, H): one score a query and head.
  Tensor scores(Ops& ops, const Tensor& from) const {
    if (kind != "averaged_key") return ops.linear(x, wa, ba);
    const Tensor q = split_heads(ops.linear(x, wq, bq), num_heads), k = split_heads(ops.linear(from, wk, bk), num_heads);
    return ops.scale(ops.sum(ops.mul(q, ops.mean(k, {1}, true)), {3}), 1 / std::sqrt(float(q.extent(3))));
  }

  void run(Ops& ops) override {
    const Tensor from = context.defined() ? context : x;
    const auto B = x.extent(0), N = x.extent(1), M = from.extent(1), H = num_heads;
    if (N == 0) fail("input x", "at least one token", x.shape().text());
    const Tensor z = ops.softmax(scores(ops, from), 1);
    Tensor v = split_heads(ops.linear(from, wv, bv), H);
    const auto D = v.extent(3);
    const auto transformed = [&](const Tensor& t, std::int64_t n) { return ops.rfft(ops.pad(t, 1, 0, n - t.extent(1)), 1); };
    Tensor mixed;
    if (kind == "causal") {  // twice the length, so that nothing wraps around: filter[d] = z[-d mod N]
      const Tensor filter = transformed(ops.roll(ops.flip(z, {1}), 1, 1), 2 * N).reshape({B, N + 1, H, 1, 2});
      mixed = ops.irfft(ops.complex_mul(filter, transformed(v, 2 * N)), 1, 2 * N).slice(1, 0, N);
    } else {
      const auto turns = (M + N - 1) / N;  // tokens with one j mod N have one weight
      v = ops.sum(ops.pad(v, 1, 0, turns * N - M).reshape({B, turns, N, H, D}), {1});
      mixed = ops.irfft(ops.complex_mul(transformed(z, N).reshape({B, N / 2 + 1, H, 1, 2}), transformed(v, N), true), 1, N);
    }
    out = ops.linear(join_heads(mixed), wo, bo);
    if (wants(divided)) divided = ops.linear(ops.scale(join_heads(mixed), 1 / float(N)), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(cat_circular, CatCircular, "cat-circular", "spectral", "op", 2,
               "CAT: Circular-Convolutional Attention for Sub-Quadratic Transformers")
