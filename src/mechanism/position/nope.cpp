// SPDX-License-Identifier: Apache-2.0
// The impact of positional encoding on length generalization (Kazemnejad et al., 2023): T5-style causal self-attention,
// s = scale q . k, without positions or with one of four encodings; and the distance of two attention patterns.
//   t5       s + table[bucket(i - j), h]        alibi  s + slope_h j        rotary  pairs (2i, 2i+1) of q and k turned
//   xl       (q + r_w_bias) . k + (q + r_r_bias) . r([sin(d f), cos(d f)]),  d = i - j, at most 1000
#include <algorithm>
#include <cmath>

#include "mechanism/attention.h"
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

/// Mean over rows i of the divergence of the first i + 1 entries of a and b from their mean m: KL(.|m), KL(m|.) if swapped.
double row_divergence(const float* a, const float* b, std::int64_t N, bool swapped) {
  const auto term = [](double p, double q) { return p > 0 ? p * std::log(p / q) : 0.0; };
  double total = 0;
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j <= i; ++j) {
      const double p = a[i * N + j], q = b[i * N + j], m = (p + q) / 2;
      total += swapped ? (term(m, p) + term(m, q)) / 2 : (term(p, m) + term(q, m)) / 2;
    }
  return total / double(N);
}

struct Nope : Mechanism {
  Tensor x, a, b, wq, wk, wv, wo, t5_table, wr, r_w_bias, r_r_bias, inv_freq, out, weights, jsd_official;
  std::string position_encoding_type = "none", metric = "none";
  std::optional<std::int64_t> d_model, d_kv, rotary_dim;
  std::int64_t num_heads = 8, relative_attention_num_buckets = 32, relative_attention_max_distance = 128;
  bool causal = true;
  double scale = 1;

  void describe(Declaration& d) override {
    const auto& kind = position_encoding_type;
    const bool attends = metric == "none", t5 = kind == "t5_relative_bias", xl = kind == "transformer_xl_relative_encoding";
    d.param("position_encoding_type", position_encoding_type, "how positions enter")
        .one_of({"none", "t5_relative_bias", "alibi", "rotary", "transformer_xl_relative_encoding"});
    d.param("metric", metric, "the distance of two patterns in place of attention").one_of({"none", "compute_jsd_two_matrix"});
    d.param("d_model", d_model, "width of x").computed("C");
    d.param("d_kv", d_kv, "width of a head").computed("D");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("causal", causal, "query i sees keys j <= i");
    d.param("scale", scale, "of the scores");
    d.param("relative_attention_num_buckets", relative_attention_num_buckets, "rows of the table of t5").least(2);
    d.param("relative_attention_max_distance", relative_attention_max_distance, "from where the last bucket serves").least(1);
    d.param("rotary_dim", rotary_dim, "turned channels").least(0).computed("d_kv/4");
    d.input("x", x, "B N d_model", "tokens").when(attends, "metric=none");
    d.input("a", a, "N N", "attention rows").between("0", "1").no_gradient().when(!attends, "metric=compute_jsd_two_matrix");
    d.input("b", b, "N N", "attention rows").between("0", "1").no_gradient().when(!attends, "metric=compute_jsd_two_matrix");
    for (auto [name, weight] : {std::pair("q", &wq), {"k", &wk}, {"v", &wv}})
      d.weight(std::string(name) + ".weight", *weight, "HD d_model").when(attends, "metric=none");
    d.weight("o.weight", wo, "d_model HD").when(attends, "metric=none");
    d.weight("relative_attention_bias.weight", t5_table, "relative_attention_num_buckets num_heads").when(t5, "t5_relative_bias");
    d.weight("r.weight", wr, "HD d_model").when(xl, "transformer_xl_relative_encoding");
    d.weight("r_w_bias", r_w_bias, "num_heads HD/num_heads").when(xl, "transformer_xl_relative_encoding");
    d.weight("r_r_bias", r_r_bias, "num_heads HD/num_heads").when(xl, "transformer_xl_relative_encoding");
    d.weight("pos_emb.inv_freq", inv_freq, "d_model/2").no_gradient().when(xl, "transformer_xl_relative_encoding");
    if (!t5) d.ignore("relative_attention_bias.weight");  // the official layer keeps the table under every encoding
    d.size("HD", d_kv ? "num_heads*d_kv" : "d_model");
    d.output("out", out, attends ? "B N d_model" : "1");
    d.output("weights", weights, "B num_heads N N").when(attends, "metric=none");
    d.output("jsd_official", jsd_official, "1", "with the arguments swapped").when(!attends, "metric=compute_jsd_two_matrix");
  }

  std::int64_t bucket(std::int64_t distance) const {
    const auto all = relative_attention_num_buckets, exact = all / 2, far = relative_attention_max_distance;
    if (far <= exact)
      fail("parameter relative_attention_max_distance", "more than half of the buckets, " + std::to_string(exact), std::to_string(far));
    if (distance < exact) return std::max<std::int64_t>(distance, 0);
    const float part = std::log(float(distance) / float(exact)) / float(std::log(double(far) / double(exact)));
    return std::min(exact + std::int64_t(part * float(all - exact)), all - 1);
  }

  /// (1, H, N, N) of table[bucket(i - j), h], stored once a distance.
  Tensor t5_bias(const Ops& ops, std::int64_t N) const {
    const auto S = 2 * N - 1;
    const Tensor buckets(DType::i64, {S});
    for (std::int64_t c = 0; c < S; ++c) buckets.data<std::int64_t>()[c] = bucket(c - N + 1);
    const Tensor rows = ops.embedding(t5_table, buckets).transpose(0, 1).dense();
    return ops.strided(rows, {1, num_heads, N, N}, {0, S, 1, -1}, N - 1);
  }

  Tensor alibi_bias(std::int64_t N) const {
    const auto slopes = alibi(num_heads);
    const Tensor bias(DType::f32, {1, num_heads, 1, N});
    for (std::int64_t h = 0; h < num_heads; ++h)
      for (std::int64_t j = 0; j < N; ++j) bias.data<float>()[h * N + j] = slopes[std::size_t(h)] * float(j);
    return bias;
  }

  Tensor rotate(const Ops& ops, const Tensor& heads) const {
    const auto N = heads.extent(1), turned = rotary_dim.value_or(heads.extent(3) / 4), half = turned / 2;
    if (turned % 2 || turned > heads.extent(3))
      fail("parameter rotary_dim", "an even number, at most " + std::to_string(heads.extent(3)), std::to_string(turned));
    const Tensor cos(DType::f32, {N, half}), sin(DType::f32, {N, half});
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(n) * std::pow(1e4, -double(i) / double(half));
        cos.data<float>()[n * half + i] = float(std::cos(angle));
        sin.data<float>()[n * half + i] = float(std::sin(angle));
      }
    return ops.rope(heads, cos, sin, true);
  }

  Tensor xl_bias(const Ops& ops, const Tensor& q) const {
    const auto N = q.extent(1), half = inv_freq.extent(0), S = 2 * N - 1;
    const Tensor waves(DType::f32, {1, S, 2 * half}), f = inv_freq.dense();
    for (std::int64_t c = 0; c < S; ++c)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(std::min<std::int64_t>(c - N + 1, 1000)) * double(f.data<float>()[i]);
        waves.data<float>()[c * 2 * half + i] = float(std::sin(angle));
        waves.data<float>()[c * 2 * half + half + i] = float(std::cos(angle));
      }
    const Tensor r = split_heads(ops.linear(waves, wr), num_heads);
    return by_distance(ops,
                       ops.scale(ops.matmul(ops.add(q, r_r_bias).permute({0, 2, 1, 3}), r.permute({0, 2, 3, 1})), float(scale)).dense());
  }

  void run(Ops& ops) override {
    if (metric != "none") {
      const Tensor p = a.dense(), r = b.dense();
      if (p.extent(0) == 0) fail("input a", "one row or more", "none");
      out = Tensor::of({float(row_divergence(p.data<float>(), r.data<float>(), p.extent(0), false))}, {1});
      jsd_official = Tensor::of({float(row_divergence(p.data<float>(), r.data<float>(), p.extent(0), true))}, {1});
      return;
    }
    Tensor q = split_heads(ops.linear(x, wq), num_heads), k = split_heads(ops.linear(x, wk), num_heads), bias;
    const Tensor v = split_heads(ops.linear(x, wv), num_heads);
    if (d_kv && *d_kv != q.extent(3))
      fail("parameter d_kv", "rows of q.weight / num_heads, " + std::to_string(q.extent(3)), std::to_string(*d_kv));
    const std::string kind = x.extent(1) ? position_encoding_type : "none";  // nothing to place
    if (kind == "t5_relative_bias") bias = t5_bias(ops, x.extent(1));
    if (kind == "alibi") bias = alibi_bias(x.extent(1));
    if (kind == "rotary") q = rotate(ops, q), k = rotate(ops, k);
    if (kind == "transformer_xl_relative_encoding") bias = xl_bias(ops, q), q = ops.add(q, r_w_bias);
    AttendOptions o;
    o.causal = causal;
    o.scale = float(scale);
    out = ops.linear(join_heads(attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr, {.bias = bias})), wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(nope, Nope, "nope", "position", "op", 2, "The Impact of Positional Encoding on Length Generalization in Transformers")
