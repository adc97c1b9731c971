// SPDX-License-Identifier: Apache-2.0
// Grouped differential attention (Lim et al., 2025): a noise map is shared, and subtracted, by G signal heads.
//   O_h = (1 - lambda_init) RMSNorm(softmax(Q1_h K1^T s) [V1 V2] - lambda softmax(Q2_g K2^T s) [V1 V2]),  g = h // G
//   lambda = exp(lq1 . lk1) - exp(lq2 . lk2) + lambda_init;  with embed_dim: the module of differential attention, G = 1
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct GroupedDifferential : Mechanism {
  Tensor q, k, v, x, cos, sin, lq1, lk1, lq2, lk2, subln, wq, wk, wv, wo, out, lambda_full;
  std::int64_t num_heads = 8, layer_idx = 1;
  std::optional<std::int64_t> num_q1_heads, num_q2_heads, grouped_ratio, num_kv_heads, head_dim, embed_dim, depth;
  std::optional<double> lambda_init, scale;
  double subln_eps = 1e-5;
  bool causal = true;
  std::string rope = "none";

  void describe(Declaration& d) override {
    const bool module = embed_dim.has_value();
    d.param("num_heads", num_heads, "query heads; pairs of them with embed_dim").least(1);
    d.param("num_q1_heads", num_q1_heads, "signal heads").least(1).computed("from grouped_ratio");
    d.param("num_q2_heads", num_q2_heads, "noise heads").least(1).computed("num_heads - num_q1_heads");
    d.param("grouped_ratio", grouped_ratio, "G, signal heads a noise head").least(1).computed("num_q1_heads/num_q2_heads, else 1");
    d.param("num_kv_heads", num_kv_heads, "key and value heads").least(1).computed("from k");
    d.param("head_dim", head_dim, "D").least(1).computed("from q");
    d.param("layer_idx", layer_idx, "from 1");
    d.param("depth", depth, "from 0").computed("layer_idx - 1");
    d.param("lambda_init", lambda_init, "the constant part of lambda").computed("0.8 - 0.6 exp(-0.3 depth)");
    d.param("causal", causal, "query i sees keys j <= i");
    d.param("scale", scale, "of the scores").computed("1/sqrt(D)");
    d.param("subln_eps", subln_eps, "of the norm").least(0);
    d.param("embed_dim", embed_dim, "width of x; given, the module runs").least(1).computed("none: q, k, v are given");
    d.param("rope", rope, "rotation of the module's q and k").one_of({"none", "interleaved"});
    const std::string D = head_dim ? "head_dim" : module ? "(embed_dim//(2*num_heads))" : "D";
    d.input("q", q, "B N num_heads " + D, "groups of G signal heads and a noise head").when(!module, "no embed_dim");
    d.input("k", k, "B N KV " + D, "even heads for signal, odd for noise").when(!module, "no embed_dim");
    d.input("v", v, "B N KV " + D, "pairs of heads are one value of 2 D").when(!module, "no embed_dim");
    d.input("x", x, "B N embed_dim", "tokens").when(module, "embed_dim");
    const bool turned = module && rope == "interleaved";
    d.input("cos", cos, "N half", "half = D/2").when(turned, "rope=interleaved").no_gradient();
    d.input("sin", sin, "N half", "half = D/2").when(turned, "rope=interleaved").no_gradient();
    d.weight("lambda_q1", lq1, D);
    d.weight("lambda_k1", lk1, D);
    d.weight("lambda_q2", lq2, D);
    d.weight("lambda_k2", lk2, D);
    d.weight("subln.weight", subln, "2*" + D);
    d.weight("q_proj.weight", wq, "embed_dim embed_dim").when(module, "embed_dim");
    d.weight("k_proj.weight", wk, "kv_dim embed_dim").when(module, "embed_dim");
    d.weight("v_proj.weight", wv, "kv_dim embed_dim").when(module, "embed_dim");
    d.weight("out_proj.weight", wo, "embed_dim embed_dim").when(module, "embed_dim");
    d.size("kv_dim", num_kv_heads ? "2*num_kv_heads*" + D : "embed_dim");
    d.output("out", out, module ? "B N embed_dim" : "B N num_q1_heads*2*" + D);
    d.output("lambda_full", lambda_full, "1");
  }

  /// Part [begin, begin + length) of every group of `size` heads.
  static Tensor part(const Tensor& heads, std::int64_t size, std::int64_t begin, std::int64_t length) {
    const auto B = heads.extent(0), N = heads.extent(1), groups = heads.extent(2) / size, D = heads.extent(3);
    return heads.reshape({B, N, groups, size, D}).slice(3, begin, length).reshape({B, N, groups * length, D});
  }

  /// Signal heads a noise head, from whichever of the three parameters is given; the others must agree.
  std::int64_t group() const {
    if (embed_dim) return 1;
    const auto H = q.extent(2);
    const auto signal = num_q1_heads.value_or(num_q2_heads    ? H - *num_q2_heads
                                              : grouped_ratio ? H / (*grouped_ratio + 1) * *grouped_ratio
                                                              : H / 2);
    const auto noise = num_q2_heads.value_or(H - signal), G = grouped_ratio.value_or(signal / std::max<std::int64_t>(1, noise));
    if (G < 1 || signal != G * noise || signal + noise != H)
      fail("parameter num_heads", "num_q1_heads + num_q2_heads, the first grouped_ratio times the second",
           std::to_string(H) + ", " + std::to_string(signal) + " and " + std::to_string(noise));
    return G;
  }

  void run(Ops& ops) override {
    const auto G = group();
    if (embed_dim) {
      const auto D = lq1.extent(0);
      if (2 * num_heads * D != *embed_dim)
        fail("parameter num_heads", "pairs of heads of " + std::to_string(D) + " that fill embed_dim", std::to_string(num_heads));
      q = split_heads(ops.linear(x, wq), 2 * num_heads);
      k = split_heads(ops.linear(x, wk), wk.extent(0) / D);
      v = split_heads(ops.linear(x, wv), wv.extent(0) / D);
      if (cos.defined() && D % 2 != 0) fail("parameter head_dim", "an even width with rope", std::to_string(D));
      if (cos.defined()) q = ops.rope(q, cos, sin, true), k = ops.rope(k, cos, sin, true);
    }
    if (k.extent(2) % 2) fail("input k", "an even number of heads", std::to_string(k.extent(2)));
    const auto B = q.extent(0), N = q.extent(1), D = q.extent(3), KV = embed_dim ? k.extent(2) / 2 : k.extent(2);
    if (num_kv_heads && *num_kv_heads != KV) fail("parameter num_kv_heads", std::to_string(KV), std::to_string(*num_kv_heads));
    if (head_dim && *head_dim != D) fail("parameter head_dim", std::to_string(D), std::to_string(*head_dim));

    const double initial = lambda_init.value_or(0.8 - 0.6 * std::exp(-0.3 * double(depth.value_or(layer_idx - 1))));
    const auto grown = [&](const Tensor& a, const Tensor& b) { return ops.exp(ops.sum(ops.mul(a, b), {0}, true)); };
    lambda_full = ops.shift(ops.sub(grown(lq1, lk1), grown(lq2, lk2)), float(initial));

    AttendOptions o;
    o.causal = causal;
    if (scale) o.scale = float(*scale);
    const Tensor wide = v.reshape({B, N, v.extent(2) / 2, 2 * D});
    const Tensor signal = ops.attend(part(q, G + 1, 0, G), part(k, 2, 0, 1), wide, o).out;
    const Tensor noise = ops.attend(part(q, G + 1, G, 1), part(k, 2, 1, 1), wide, o).out;
    const Tensor clean = ops.sub(signal, ops.mul(ops.repeat(noise, 2, G), lambda_full));
    out = join_heads(ops.scale(ops.rms_norm(clean, subln, float(subln_eps)), float(1 - initial)));
    if (embed_dim) out = ops.linear(out, wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(grouped_differential_attention, GroupedDifferential, "grouped-differential-attention", "dense", "module", 2,
               "Grouped Differential Attention")
