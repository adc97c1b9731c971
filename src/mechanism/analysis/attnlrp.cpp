// SPDX-License-Identifier: Apache-2.0
// AttnLRP (Achtibat et al., 2024): relevance R backwards through the parts of a transformer.
//   matmul O = A V:  n = R/(2 O + eps), R_A = A (n V^T), R_V = V (A^T n);     softmax s of x:  R_x = x (R - s sum R)
//   linear:  x ((R/(z + eps)) W);   product: halves;   sum: a R/(a + b + eps);   LayerNorm: x J^T(R/(y + eps)), the deviation held
// In f64, as denominators may nearly vanish.
#include <cmath>
#include <limits>

#include "mechanism/mechanism.h"
#include "ops/doubles.h"

namespace heed::mechanism {
namespace {

using heed::ops::DoubleOps, heed::ops::Doubles;

constexpr const char *attention_rule = "attention", *parts_rule = "softmax and matmul alone",
                     *others_rule = "linear_epsilon, mul2, add2, layer_norm, rms_norm_identity";

struct AttnLrp : Mechanism {
  Tensor q, k, v, relevance, relevance_q, relevance_k, relevance_v, out;
  Tensor logits, softmax_relevance, weights, matmul_relevance, probabilities, relevance_weights;
  Tensor x, w, b, relevance_linear, a, b2, norm_x, norm_weight, norm_bias, mul_a, add_a, add_b, layer_norm, rms_norm;
  std::string rule = attention_rule;
  std::optional<double> scale;
  double epsilon = 1e-8;
  bool causal = true;

  void describe(Declaration& d) override {
    const bool whole = rule == attention_rule, parts = rule == parts_rule, others = rule == others_rule;
    const std::string at = "rule=" + rule;
    d.no_gradients("relevance is a backward pass of its own");
    d.param("rule", rule, "which rules").one_of({attention_rule, parts_rule, others_rule});
    d.param("scale", scale, "of the scores").computed("D^-0.5");
    d.param("causal", causal, "query i sees keys j <= i");
    d.param("epsilon", epsilon, "added to denominators, without sign").least(0);
    d.input("q", q, "B N H D", "queries").when(whole, at);
    d.input("k", k, "B N H D", "keys").when(whole, at);
    d.input("v", v, whole ? "B N H D" : "B H N D", "values").when(whole || parts, at);
    d.input("relevance", relevance, whole ? "B N H D" : "*any", "of the output; of the product and the sum").when(whole || others, at);
    d.input("logits", logits, "*any N N", "of a softmax").when(parts, at);
    d.input("softmax_relevance", softmax_relevance, "*any N N", "of its output").when(parts, at);
    d.input("weights", weights, "B H N N", "A of a product A V").when(parts, at);
    d.input("matmul_relevance", matmul_relevance, "B H N D", "of its output").when(parts, at);
    d.input("x", x, "*rows I", "what a linear reads").when(others, at);
    d.input("W", w, "O I", "its weight").when(others, at);
    d.input("b", b, "O", "its bias").when(others, at);
    d.input("relevance_linear", relevance_linear, "*rows O", "of its output").when(others, at);
    d.input("a", a, "*any", "a factor, and a summand").when(others, at);
    d.input("b2", b2, "*any", "the other").when(others, at);
    d.input("norm_x", norm_x, "*any C", "what a norm reads").when(others, at);
    d.input("norm_weight", norm_weight, "C", "its weight").when(others, at);
    d.input("norm_bias", norm_bias, "C", "its bias").when(others, at);
    d.size("*any", parts ? "B H" : "B N");
    d.size("*rows", "N");
    d.size("I", "C");
    d.size("O", "C");
    d.output("out", out, "*out", "the attention's output; R of the logits; R of the linear's input");
    d.output("relevance_q", relevance_q, "B N H D").when(whole, at);
    d.output("relevance_k", relevance_k, "B N H D").when(whole, at);
    d.output("relevance_v", relevance_v, whole ? "B N H D" : "B H N D").when(whole || parts, at);
    d.output("probabilities", probabilities, "*any N N").when(parts, at);
    d.output("relevance_weights", relevance_weights, "B H N N").when(parts, at);
    for (auto [name, tensor] :
         {std::pair("mul_a", &mul_a), {"add_a", &add_a}, {"add_b", &add_b}, {"layer_norm", &layer_norm}, {"rms_norm", &rms_norm}})
      d.output(name, *tensor, "*any").when(others, at);
  }

  /// a / (b + small).
  static Doubles quotient(const DoubleOps& ops, const Doubles& a, const Doubles& b, double small) {
    return ops.zip(a, b, [=](double x, double y) { return x / (y + small); });
  }

  /// R_A and R_V of O = A V.
  std::pair<Doubles, Doubles> through_matmul(const DoubleOps& ops, const Doubles& left, const Doubles& right, const Doubles& product,
                                             const Doubles& r) const {
    const Doubles n = quotient(ops, r, ops.scale(product, 2), epsilon);
    return {ops.mul(left, ops.matmul(n, right.transpose(-1, -2))), ops.mul(right, ops.matmul(left.transpose(-1, -2), n))};
  }

  static Doubles softmax(const DoubleOps& ops, const Doubles& scores, const Tensor& hidden) {
    return ops.softmax(ops.where(hidden, ops.number(-std::numeric_limits<double>::infinity()), scores), -1);
  }

  /// R of the scores, s being their softmax: a masked score counts as 0.
  static Doubles through_softmax(const DoubleOps& ops, const Doubles& scores, const Doubles& s, const Tensor& hidden, const Doubles& r) {
    return ops.mul(ops.where(hidden, ops.number(0), scores), ops.sub(r, ops.mul(s, ops.sum(r))));
  }

  Tensor later(std::int64_t N) const {
    const Tensor mask(DType::boolean, {N, N});
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t j = 0; j < N; ++j) mask.data<std::uint8_t>()[i * N + j] = causal && j > i;
    return mask;
  }

  void run(Ops& f32) override {
    const DoubleOps ops(f32.context());
    if (rule == others_rule) return other_rules(ops);
    if (rule == parts_rule) {
      const Tensor hidden = later(logits.extent(-1));
      const Doubles s = softmax(ops, logits, hidden);
      const auto [of_weights, of_values] = through_matmul(ops, weights, v, ops.matmul(weights, v), matmul_relevance);
      probabilities = s.narrow(), out = through_softmax(ops, logits, s, hidden, softmax_relevance).narrow();
      relevance_weights = of_weights.narrow(), relevance_v = of_values.narrow();
      return;
    }
    const auto rows = [](const Doubles& t) { return t.permute({0, 2, 1, 3}); };
    const Doubles queries = rows(q), by_key = rows(k).transpose(2, 3), values = rows(v), product = ops.matmul(queries, by_key);
    const Doubles scores = ops.scale(product, scale.value_or(1 / std::sqrt(double(q.extent(3)))));
    const Tensor hidden = later(q.extent(1));
    const Doubles seen = softmax(ops, scores, hidden), read = ops.matmul(seen, values);
    const auto [of_weights, of_values] = through_matmul(ops, seen, values, read, rows(relevance));
    const auto [of_queries, of_keys] =
        through_matmul(ops, queries, by_key, product, through_softmax(ops, scores, seen, hidden, of_weights));
    out = rows(read).narrow(), relevance_v = rows(of_values).narrow();
    relevance_q = rows(of_queries).narrow(), relevance_k = rows(of_keys.transpose(2, 3)).narrow();
  }

  void other_rules(const DoubleOps& ops) {
    constexpr double small = 1e-6;
    out = ops.mul(x, ops.matmul(quotient(ops, relevance_linear, ops.linear(x, w, b), small), w)).narrow();
    mul_a = ops.scale(relevance, 0.5).narrow();
    const Doubles share = quotient(ops, relevance, ops.add(a, b2), epsilon);
    add_a = ops.mul(a, share).narrow(), add_b = ops.mul(b2, share).narrow();
    rms_norm = relevance;
    if (!wants(layer_norm)) return;
    // y = (x - mean) f weight + bias with f held: J^T g = f (h - mean h), h = g weight.
    const Doubles centred = ops.sub(norm_x, ops.mean(norm_x));
    const Doubles f = ops.map(ops.mean(ops.mul(centred, centred)), [](double square) { return 1 / std::sqrt(square + 1e-5); });
    const Doubles y = ops.add(ops.mul(ops.mul(centred, f), norm_weight), norm_bias);
    const Doubles h = ops.mul(quotient(ops, relevance, y, small), norm_weight);
    layer_norm = ops.mul(norm_x, ops.mul(f, ops.sub(h, ops.mean(h)))).narrow();
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(attnlrp, AttnLrp, "attnlrp", "analysis", "analysis", 1,
               "AttnLRP: Attention-Aware Layer-wise Relevance Propagation for Transformers")
