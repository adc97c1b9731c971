// SPDX-License-Identifier: Apache-2.0
// Low-rank compact multi-head attention (LAMA; Mehta et al., 2019): tokens pooled to one row a head, by a bilinear form of rank one.
//   c = mean of x over the valid tokens,  s_mn = tanh((P^T c)_m (Q^T x_n)_m),  s divided by its norm over the heads of a token,
//   weights = softmax over the tokens,  out = weights x
#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Lama : Mechanism {
  Tensor x, key_len, p, q, out, weights;
  std::int64_t num_heads = 4;
  std::optional<std::int64_t> input_dim;
  std::optional<std::string> activation = "tanh";

  void describe(Declaration& d) override {
    d.param("num_heads", num_heads, "m, rows that the tokens are pooled to").least(1);
    d.param("input_dim", input_dim, "width of x").computed("D");
    d.param("activation", activation, "of the scores; null: none").one_of({"tanh", "sigmoid", "relu", "none"});
    d.input("x", x, "B N input_dim", "tokens");
    d.input("key_len", key_len, "B", "valid tokens of each sequence").of(DType::i64).within("1", "N").optional();
    d.weight("_p", p, "input_dim num_heads", "of the context");
    d.weight("_q", q, "input_dim num_heads", "of the tokens");
    d.output("out", out, "B num_heads input_dim", "one row a head");
    d.output("weights", weights, "B num_heads N");
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1);
    const Tensor valid(DType::boolean, {B, N, 1});
    const Tensor counts(DType::f32, {B, 1, 1});
    for (std::int64_t b = 0; b < B; ++b) {
      const auto length = key_len.defined() ? key_len.data<std::int64_t>()[b * key_len.stride(0)] : N;
      counts.data<float>()[b] = float(length);
      for (std::int64_t n = 0; n < N; ++n) valid.data<std::uint8_t>()[b * N + n] = n < length;
    }
    const Tensor context = ops.div(ops.sum(ops.where(valid, x, ops.full({}, 0)), {1}, true), counts);
    Tensor s = ops.mul(ops.matmul(context, p), ops.matmul(x, q));  // (B, N, m)
    const std::string kind = activation.value_or("none");
    s = kind == "tanh" ? ops.tanh(s) : kind == "sigmoid" ? ops.sigmoid(s) : kind == "relu" ? ops.relu(s) : s;
    s = ops.where(valid, s, ops.full({}, 1));  // padding may be zeros: no 0 / 0 in its gradient
    s = ops.where(valid, ops.div(s, ops.norm(s, 2, true)), ops.full({}, -std::numeric_limits<float>::infinity()));
    weights = ops.softmax(s, 1).transpose(1, 2);
    out = ops.matmul(weights, x);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(lama, Lama, "lama", "heads", "module", 2, "Low Rank Factorization for Compact Multi-Head Self-Attention")
