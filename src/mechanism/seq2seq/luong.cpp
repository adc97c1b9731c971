// SPDX-License-Identifier: Apache-2.0
// Luong attention (2015): a decoder state h_t against encoder states s_i, no 1/sqrt(d),
//   dot h.s   general h.(W s)   concat v.tanh(W [s; h]), with W split: mlp   location softmax(W h)
//   local-m: the states around a given position;  local-p: around p = S sigmoid(v tanh(W h)), weighted by a Gaussian of D/2, not
//   renormalised
#include <cmath>
#include <limits>

#include "mechanism/scores.h"

namespace heed::mechanism {
namespace {

struct Luong : Mechanism {
  Tensor query, memory, memory_lengths, given, linear_in, context_w, query_w, query_b, v, out_w, out_b, score_w, score_v, wp_w, wp_b, vp_w,
      vp_b;
  Tensor out, weights, context, positions;
  std::string attn_type = "dot";
  std::optional<std::string> local;
  std::optional<std::int64_t> dim, max_seq_len;
  std::int64_t D = 10;

  void describe(Declaration& d) override {
    const bool location = !local && attn_type == "location", opennmt = !local && !location,
               mlp = attn_type == "mlp" || attn_type == "concat";
    const std::string de = attn_type == "dot" ? "d" : "de";
    const bool predictive = local && *local == "local-p";
    d.param("attn_type", attn_type, "how states are compared; mlp: concat with its matrix split")
        .one_of({"dot", "general", "mlp", "concat", "location"});
    d.param("dim", dim, "d").least(1).computed("from query");
    d.param("local", local, "only states around a position").one_of({"local-m", "local-p"}).computed("none: all states");
    d.param("D", D, "states on each side of the position").least(1);
    d.param("max_seq_len", max_seq_len, "rows of the location scores").least(1).computed("from the weights");
    d.input("query", query, "B *T d", "decoder states: T of them, or one and no axis for it");
    d.input("memory", memory, "B S " + de, "encoder states");
    d.input("memory_lengths", memory_lengths, "B", "states of each sequence").of(DType::i64).within("0", "S").between("1", "S").optional();
    d.input("positions", given, "*places", "T or B T: the middle of the window; t where absent")
        .between("0", "S-1")
        .when(local && !predictive, "local=local-m")
        .optional()
        .no_gradient();
    d.weight("linear_in.weight", linear_in, "de d").when(opennmt && attn_type == "general", "attn_type=general");
    d.weight("linear_context.weight", context_w, "d de").when(opennmt && mlp, "attn_type=mlp");
    d.weight("linear_query.weight", query_w, "d d").when(opennmt && mlp, "attn_type=mlp");
    d.weight("linear_query.bias", query_b, "d").when(opennmt && mlp, "attn_type=mlp");
    d.weight("v.weight", v, "1 d").when(opennmt && mlp, "attn_type=mlp");
    d.weight("linear_out.weight", out_w, "d d+" + de).when(opennmt, "neither location nor local");
    d.weight("linear_out.bias", out_b, "d").when(opennmt && mlp, "attn_type=mlp");
    d.weight("attn_score.W.weight", score_w,
             location ? (max_seq_len ? "max_seq_len d" : "rows d")
             : mlp    ? "hidden de+d"
                      : "d de")
        .when(location || (local && attn_type != "dot"), "attn_type=location, or local and not dot");
    d.weight("attn_score.v.weight", score_v, "1 hidden").when(local && mlp, "local and attn_type=concat");
    d.weight("Wp.weight", wp_w, "hp d").when(predictive, "local=local-p");
    d.weight("Wp.bias", wp_b, "hp").when(predictive, "local=local-p");
    d.weight("vp.weight", vp_w, "1 hp").when(predictive, "local=local-p");
    d.weight("vp.bias", vp_b, "1").when(predictive, "local=local-p");
    d.size("d", dim ? "dim" : "C");
    if (de != "d") d.size("de", "d");
    d.size("rows", "S");
    d.size("hidden", "d");
    d.size("hp", "d");
    d.size("*T", "T");
    d.size("*places", "T");
    d.output("out", out, "B *T " + (opennmt ? "d" : de));
    d.output("weights", weights, "B *T S");
    d.output("context", context, "B *T " + de);
    d.output("positions", positions, "B *T", "p").when(local.has_value(), "local");
  }

  Tensor scores(const Ops& ops) const {
    const auto S = memory.extent(1);
    const Tensor keys = memory.transpose(1, 2);
    if (attn_type == "dot") return ops.matmul(query, keys);
    if (attn_type == "location") {
      if (S > score_w.extent(0)) fail("input memory", "at most " + std::to_string(score_w.extent(0)) + " states", std::to_string(S));
      return ops.linear(query, score_w.slice(0, 0, S));
    }
    if (!local) {
      if (attn_type == "general") return ops.matmul(ops.linear(query, linear_in), keys);
      return additive_scores(ops, ops.linear(query, query_w, query_b), ops.linear(memory, context_w), v);
    }
    if (attn_type == "general") return ops.matmul(query, ops.linear(memory, score_w).transpose(1, 2));
    const auto de = memory.extent(2);
    return additive_scores(ops, ops.linear(query, score_w.slice(1, de, query.extent(2))), ops.linear(memory, score_w.slice(1, 0, de)),
                           score_v);
  }

  /// (B, 1, 1): how many states there are.
  Tensor lengths() const {
    Tensor length(DType::f32, {memory.extent(0), 1, 1});
    for (std::int64_t b = 0; b < memory.extent(0); ++b)
      length.data<float>()[b] =
          float(memory_lengths.defined() ? memory_lengths.data<std::int64_t>()[b * memory_lengths.stride(0)] : memory.extent(1));
    return length;
  }

  /// (B, T, 1): the given positions, or each step's own.
  Tensor middles(const Ops& ops, std::int64_t B, std::int64_t T) const {
    const Tensor all = given.defined() ? given : ops.arange(0, T).to(DType::f32);
    if (all.shape() != Shape{T} && all.shape() != Shape{B, T})
      fail("input positions", Shape{T}.text() + " or " + Shape{B, T}.text(), all.shape().text());
    return all.reshape({all.rank() == 1 ? 1 : B, T, 1}).broadcast({B, T, 1});
  }

  void run(Ops& ops) override {
    const bool one = query.rank() == 2;
    if (!one && query.rank() != 3) fail("input query", "(B, T, d) or (B, d)", query.shape().text());
    if (one) query = query.reshape({query.extent(0), 1, query.extent(1)});
    attend(ops);
    if (!one) return;
    for (Tensor* made : {&out, &weights, &context, &positions})
      if (made->defined()) {
        auto extents = made->shape().vector();
        extents.erase(extents.begin() + 1);
        *made = made->reshape(Shape(extents));
      }
  }

  void attend(const Ops& ops) {
    const auto B = query.extent(0), T = query.extent(1), S = memory.extent(1);
    const Tensor none = ops.full({}, -std::numeric_limits<float>::infinity());
    Tensor score = scores(ops), at;
    if (memory_lengths.defined()) score = ops.where(before_lengths(memory_lengths, S), score, none);
    if (local) {
      at = *local == "local-p" ? ops.mul(ops.sigmoid(ops.linear(ops.tanh(ops.linear(query, wp_w, wp_b)), vp_w, vp_b)), lengths())
                               : middles(ops, B, T);
      positions = at.reshape({B, T});
      const Tensor window(DType::boolean, {B, T, S}), still = ops.no_gradient(at, "choice of a window").dense();
      for (std::int64_t n = 0; n < B * T; ++n)
        for (std::int64_t s = 0; s < S; ++s)
          window.data<std::uint8_t>()[n * S + s] = std::abs(float(s) - std::floor(still.data<float>()[n])) <= float(D);
      score = ops.where(window, score, none);
    }
    weights = ops.softmax(score, 2);
    if (local && *local == "local-p") {
      const Tensor places = ops.arange(0, S).to(DType::f32).reshape({1, 1, S});
      weights = ops.mul(weights, ops.exp(ops.scale(ops.square(ops.sub(places, at)), -2.0f / float(D * D))));
    }
    context = ops.matmul(weights, memory);
    if (local || attn_type == "location") {
      out = context;
      return;
    }
    const Tensor read = ops.linear(ops.concat({context, query}, 2), out_w, out_b);
    out = out_b.defined() ? read : ops.tanh(read);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(luong, Luong, "luong", "seq2seq", "module", 1, "Effective Approaches to Attention-based Neural Machine Translation")
