// SPDX-License-Identifier: Apache-2.0
// AttnLRP (Achtibat et al., 2024): relevance R backwards through the parts of a transformer.
//   matmul O = A V:  n = R/(2 O + eps), R_A = A (n V^T), R_V = V (A^T n);     softmax s of x:  R_x = x (R - s sum R)
//   linear:  x ((R/(z + eps)) W);   product: halves;   sum: a R/(a + b + eps);   LayerNorm: x J^T(R/(y + eps)), the deviation held
#include <cmath>
#include <limits>
#include <tuple>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

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

  /// R_A and R_V of O = A V.
  std::pair<Tensor, Tensor> through_matmul(const Ops& ops, const Tensor& left, const Tensor& right, const Tensor& product,
                                           const Tensor& r) const {
    const Tensor n = ops.div(r, ops.shift(ops.scale(product, 2), float(epsilon)));
    return {ops.mul(left, ops.matmul(n, right.transpose(-1, -2))), ops.mul(right, ops.matmul(left.transpose(-1, -2), n))};
  }

  /// (softmax, R of the scores): a masked score counts as 0.
  std::pair<Tensor, Tensor> through_softmax(const Ops& ops, const Tensor& scores, const Tensor& hidden, const Tensor& r) const {
    const Tensor none = ops.full({}, 0);
    const Tensor s = ops.softmax(ops.where(hidden, ops.full({}, -std::numeric_limits<float>::infinity()), scores), -1);
    return {s, ops.mul(ops.where(hidden, none, scores), ops.sub(r, ops.mul(s, ops.sum(r, {-1}, true))))};
  }

  Tensor later(std::int64_t N) const {
    const Tensor mask(DType::boolean, {N, N});
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t j = 0; j < N; ++j) mask.data<std::uint8_t>()[i * N + j] = causal && j > i;
    return mask;
  }

  void run(Ops& ops) override {
    if (rule == others_rule) return other_rules(ops);
    if (rule == parts_rule) {
      std::tie(probabilities, out) = through_softmax(ops, logits, later(logits.extent(-1)), softmax_relevance);
      std::tie(relevance_weights, relevance_v) = through_matmul(ops, weights, v, ops.matmul(weights, v), matmul_relevance);
      return;
    }
    const auto rows = [](const Tensor& t) { return t.permute({0, 2, 1, 3}); };
    const Tensor by_key = rows(k).transpose(2, 3), product = ops.matmul(rows(q), by_key);
    const Tensor scores = ops.scale(product, float(scale.value_or(1 / std::sqrt(double(q.extent(3))))));
    const Tensor hidden = later(q.extent(1)), infinite = ops.full({}, -std::numeric_limits<float>::infinity());
    const Tensor seen = ops.softmax(ops.where(hidden, infinite, scores), -1), read = ops.matmul(seen, rows(v));
    const auto [of_weights, of_values] = through_matmul(ops, seen, rows(v), read, rows(relevance));
    const auto [of_queries, of_keys] =
        through_matmul(ops, rows(q), by_key, product, through_softmax(ops, scores, hidden, of_weights).second);
    out = rows(read);
    relevance_q = rows(of_queries), relevance_k = rows(of_keys.transpose(2, 3)), relevance_v = rows(of_values);
  }

  void other_rules(const Ops& ops) {
    constexpr float small = 1e-6f;
    const Tensor z = ops.shift(ops.linear(x, w, b), small);
    out = ops.mul(x, ops.matmul(ops.div(relevance_linear, z), w));
    mul_a = ops.scale(relevance, 0.5f);
    const Tensor share = ops.div(relevance, ops.shift(ops.add(a, b2), float(epsilon)));
    add_a = ops.mul(a, share), add_b = ops.mul(b2, share);
    rms_norm = relevance;
    if (!wants(layer_norm)) return;
    // y = (x - mean) f weight + bias with f held: J^T g = f (h - mean h), h = g weight.
    const Tensor centred = ops.sub(norm_x, ops.mean(norm_x, {-1}, true));
    const Tensor f = ops.rsqrt(ops.shift(ops.mean(ops.square(centred), {-1}, true), 1e-5f));
    const Tensor y = ops.add(ops.mul(ops.mul(centred, f), norm_weight), norm_bias);
    const Tensor h = ops.mul(ops.div(relevance, ops.shift(y, small)), norm_weight);
    layer_norm = ops.mul(norm_x, ops.mul(f, ops.sub(h, ops.mean(h, {-1}, true))));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(attnlrp, AttnLrp, "attnlrp", "analysis", "analysis", 1,
               "AttnLRP: Attention-Aware Layer-wise Relevance Propagation for Transformers")
