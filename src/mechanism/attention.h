// SPDX-License-Identifier: Apache-2.0
// What the presets of exact attention share: its tensors, its options, its call.
//   out = weigh(scale q k, capped, + bias - slope |p - j|, masked) v,   p = i + M - N
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "heed/attend.h"
#include "mechanism/mechanism.h"
#include "heed/ops.h"

namespace heed::mechanism {

struct Attention : Mechanism {
  Tensor q, k, v, bias, mask, alibi_slopes, sink, key_lengths, query_lengths, out, lse, weights;
  bool causal = false;
  std::vector<std::int64_t> window{-1, -1};
  std::optional<double> scale;
  double softcap = 0;
  std::string weighting = "softmax";

  void describe(Declaration& d) override {
    tensors(d);
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.param("window", window, "[left, right]: keeps p - left <= j <= p + right; -1 is unlimited").least(-1);
    options(d);
    d.param("weighting", weighting, "how scores become weights").one_of({"softmax", "sigmoid", "relu", "softmax_plus_one"});
  }

  void run(Ops& ops) override { attend(ops, q, k, v, attend_options()); }

 protected:
  void tensors(Declaration& d, bool has_sink = true) {
    d.input("q", q, "B N H D", "queries");
    d.input("k", k, "B M G D", "keys; query head h reads head h // (H/G)");
    d.input("v", v, "B M G E", "values");
    d.input("bias", bias, "*broadcast", "added to the scores, broadcast to B H N M").optional();
    d.input("mask", mask, "*visible", "true where a query may look, broadcast to B H N M").of(DType::boolean).optional();
    d.input("alibi_slopes", alibi_slopes, "H", "adds -slope * |p - j|").between("0", "0.5").optional();
    if (has_sink) d.input("sink", sink, "H", "one more logit a head").optional();
    d.input("key_lengths", key_lengths, "B", "keys of each sequence").of(DType::i64).within("0", "M").between("1", "M").optional();
    d.input("query_lengths", query_lengths, "B", "queries of each sequence").of(DType::i64).within("0", "N").between("1", "N").optional();
    d.size("*broadcast", "1 H N M");
    d.size("*visible", "1 1 N M");
    d.output("out", out, "B N H E");
    d.output("lse", lse, "B H N", "natural log-sum-exp");
    d.output("weights", weights, "B H N M");
  }
  void options(Declaration& d) {
    d.param("scale", scale, "score scale").computed("1/sqrt(D)");
    d.param("softcap", softcap, "c tanh(s/c) before anything is added; 0 is none").least(0);
  }

  AttendOptions attend_options() const {
    if (window.size() != 2) fail("parameter window", "[left, right]", std::to_string(window.size()) + " numbers");
    AttendOptions o;
    o.causal = causal;
    o.window_left = window[0];
    o.window_right = window[1];
    if (scale) o.scale = float(*scale);
    o.softcap = float(softcap);
    o.weighting = weighting == "sigmoid"            ? Weighting::sigmoid
                  : weighting == "relu"             ? Weighting::relu
                  : weighting == "softmax_plus_one" ? Weighting::softmax_plus_one
                                                    : Weighting::softmax;
    const auto give = [](std::optional<View>& to, const Tensor& from) {
      if (from.defined()) to = from.view();
    };
    give(o.mask, mask);
    give(o.key_lengths, key_lengths);
    give(o.query_lengths, query_lengths);
    return o;
  }

  /// Sequences that differ in their positions: the batch where lengths are given, else one.
  std::int64_t sequences() const { return key_lengths.defined() || query_lengths.defined() ? q.extent(0) : 1; }
  /// p of query i of sequence b.
  std::int64_t position(std::int64_t b, std::int64_t i) const {
    const auto length = [b](const Tensor& lengths, std::int64_t all) {
      return lengths.defined() ? lengths.data<std::int64_t>()[b * lengths.stride(0)] : all;
    };
    return i + length(key_lengths, k.extent(1)) - length(query_lengths, q.extent(1));
  }
  /// value(p, j) for every pair: (sequences, N, M).
  template <class T, class Value>
  Tensor pairs(DType dtype, Value value) const {
    const auto N = q.extent(1), M = k.extent(1);
    Tensor table(dtype, {sequences(), N, M});
    auto* at = table.data<T>();
    for (std::int64_t b = 0; b < sequences(); ++b)
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t j = 0; j < M; ++j) *at++ = T(value(position(b, i), j));
    return table;
  }
  void attend(Ops& ops, const Tensor& queries, const Tensor& keys, const Tensor& values, const AttendOptions& o) {
    attend(ops, queries, keys, values, o, {bias, alibi_slopes, sink});
  }
  /// terms (.. N, M) and the bias, where there is one.
  Tensor with_bias(const Ops& ops, const Tensor& terms) const {
    if (!bias.defined()) return terms;
    const Shape all{q.extent(0), q.extent(2), q.extent(1), k.extent(1)};
    bool fits = bias.rank() <= 4;
    for (int axis = 1; fits && axis <= bias.rank(); ++axis) fits = bias.extent(-axis) == 1 || bias.extent(-axis) == all[4 - axis];
    if (!fits) fail("input bias", "a shape that broadcasts to (B H N M) = " + all.text(), bias.shape().text());
    return ops.add(terms, bias);
  }
  /// Fills out, and lse and weights where wanted.
  void attend(Ops& ops, const Tensor& queries, const Tensor& keys, const Tensor& values, const AttendOptions& o, const ScoreTerms& terms) {
    const unsigned extras = (wants(lse) ? want_lse : 0u) | (wants(weights) ? want_weights : 0u);
    const Attended got = ops.attend(queries, keys, values, o, extras, terms);
    out = got.out;
    lse = got.lse;
    weights = got.weights;
  }
};

/// A preset that is causal unless told otherwise.
struct CausalAttention : Attention {
  CausalAttention() { causal = true; }
};

/// 2^(-8 (h+1)/n) for the largest power of two n <= heads, then every second slope of the series of 2n (Press et al.).
inline std::vector<float> alibi(std::int64_t heads) {
  std::int64_t n = 1;
  while (2 * n <= heads) n *= 2;
  std::vector<float> slopes;
  for (std::int64_t h = 0; h < heads; ++h)
    slopes.push_back(float(std::exp2(h < n ? -8.0 * double(h + 1) / double(n) : -4.0 * double(2 * (h - n) + 1) / double(n))));
  return slopes;
}

}  // namespace heed::mechanism
