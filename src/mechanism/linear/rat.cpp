// SPDX-License-Identifier: Apache-2.0
// RAT (Wei et al., 2025): a recurrence inside chunks, attention across them. Per channel, g = sigmoid(g(x) + bias),
//   k~_t = g k~_{t-1} + (1 - g) k_t (and v~), from zero in each chunk;
// a query attends to the last k~ of every earlier chunk and to its own k~_t. Head h reads the queries and keys of group h mod ngroups.
// The whole layer: out = x + out_proj(sigmoid(z) * o) on RMSNorm(x), rotary positions being the chunks'.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Rat : Mechanism {
  Tensor x, norm_weight, in_weight, gate_bias, out_weight, out;
  std::optional<std::int64_t> d_model;
  std::int64_t num_head = 8, chunk_size = 64, ngroups = 2;
  double rope_base = 10000;

  void describe(Declaration& d) override {
    d.param("d_model", d_model, "width of x").least(1).computed("C");
    d.param("num_head", num_head, "heads").least(1);
    d.param("chunk_size", chunk_size, "tokens of a chunk; divides N").least(1);
    d.param("ngroups", ngroups, "different queries and keys; divides num_head").least(1);
    d.param("rope_base", rope_base, "of the rotary positions").least(1);
    const std::string C = d_model ? "d_model" : "C";
    d.input("x", x, "B N " + C, "tokens");
    d.weight("input_norm.weight", norm_weight, C);
    d.weight("in_proj.weight", in_weight, "3*" + C + "+2*ngroups*(" + C + "//num_head) " + C, "z, v, g, q, k");
    d.weight("gate_bias", gate_bias, C);
    d.weight("out_proj.weight", out_weight, C + " " + C);
    d.output("out", out, "B N " + C);
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), C = x.extent(2), H = num_head, D = C / H, chunks = N / chunk_size;
    if (C % H != 0) fail("parameter num_head", "a divisor of " + std::to_string(C), std::to_string(H));
    if (D % 2 != 0) fail("parameter num_head", "heads of an even width, which rotate", std::to_string(D));
    if (H % ngroups != 0) fail("parameter ngroups", "a divisor of " + std::to_string(H), std::to_string(ngroups));
    if (N % chunk_size != 0) fail("input x", "tokens that are a multiple of " + std::to_string(chunk_size), std::to_string(N));
    const auto parts = ops.split(ops.linear(ops.rms_norm(x, norm_weight, 1e-6f), in_weight), 2, {C, C, C, ngroups * D, ngroups * D});
    const auto tiled = [&](const Tensor& groups) {  // head h has group h mod ngroups
      return ops.concat(std::vector<Tensor>(std::size_t(H / ngroups), groups), 2);
    };
    const Tensor gate = ops.sigmoid(ops.add(parts[2], gate_bias)), rest = ops.shift(ops.neg(gate), 1);
    const auto smooth = [&](const Tensor& y) {  // (B, N, C) -> (B, N, H, D)
      const Shape by_chunk{B, chunks, chunk_size, C};
      return ops.recurrence(gate.reshape(by_chunk), ops.mul(rest, y).reshape(by_chunk), 2).reshape({B, N, H, D});
    };
    const Tensor cos(DType::f32, {N, D / 2}), sin(DType::f32, {N, D / 2});
    for (std::int64_t t = 0; t < N; ++t)
      for (std::int64_t i = 0; i < D / 2; ++i) {
        const double angle = double(t / chunk_size) * std::pow(rope_base, -2 * double(i) / double(D));
        cos.data<float>()[t * (D / 2) + i] = float(std::cos(angle));
        sin.data<float>()[t * (D / 2) + i] = float(std::sin(angle));
      }
    const Tensor q = ops.rope(tiled(parts[3]).reshape({B, N, H, D}), cos, sin), k = ops.rope(smooth(tiled(parts[4])), cos, sin),
                 v = smooth(parts[1]);
    const auto last = [&](const Tensor& y) {  // (B, chunks, H, D)
      return y.reshape({B, chunks, chunk_size, H, D}).slice(2, chunk_size - 1, 1).reshape({B, chunks, H, D});
    };
    // Earlier chunks, then its own key joined by the log-sum-exp.
    const Tensor earlier(DType::boolean, {1, 1, N, chunks});
    for (std::int64_t t = 0; t < N; ++t)
      for (std::int64_t c = 0; c < chunks; ++c) earlier.data<std::uint8_t>()[t * chunks + c] = c < t / chunk_size;
    AttendOptions o;
    o.mask = earlier.view();
    const auto far = ops.attend(q, last(k), last(v), o, want_lse);
    const Tensor own = ops.scale(ops.sum(ops.mul(q, k), {3}), 1 / std::sqrt(float(D)));
    Attended itself;
    itself.out = v, itself.lse = own.transpose(1, 2);
    const Tensor attended = join_heads(ops.merge(far, itself).out);
    out = ops.add(x, ops.linear(ops.mul(ops.sigmoid(parts[0]), attended), out_weight));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(rat, Rat, "rat", "linear", "module", 2, "RAT: Bridging RNN Efficiency and Attention Accuracy in Language Modeling")
