// SPDX-License-Identifier: Apache-2.0
// Spiking attention as collected in STEP (2025). LIF over time: u += (x - u)/tau, a spike where u >= threshold, then u = 0.
//   SSA           a = LIF_v((q k^T s) v)               out = LIF(BN(proj a))       q, k, v = LIF(BN(W x))
//   QK token      a = LIF_v(sum of q over channels)    out = LIF(BN(proj(a k)))
//   QKFormer SSA  a = LIF_v((q (k^T v)) s)             out = LIF(BN(proj a))
//   SDSA          m = LIF(sum of k v over positions)   out = x + BN(proj(q m))     q, k, v from LIF(x)
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct SpikingAttention : Mechanism {
  struct Norm {
    Tensor weight, bias, mean, var;
  };
  Tensor x, wq, bq, wk, bk, wv, bv, wp, bp, out, q, k, v, attn, spikes, mask;
  Norm nq, nk, nv, np;
  std::string kind = "SSA";
  std::optional<std::int64_t> embed_dim;
  std::int64_t num_heads = 12, step = 4;
  double attn_scale = 0.125, tau = 2, threshold = 1, attn_threshold = 0.5;

  void describe(Declaration& d) override {
    const bool ssa = kind == "SSA", sdsa = kind == "SDSA", token = kind == "QK token";
    d.no_gradients("spikes are steps; the surrogate slopes belong to training");
    d.param("kind", kind, "which attention").one_of({"SSA", "QK token", "QKFormer SSA", "SDSA"});
    d.param("embed_dim", embed_dim, "channels").computed("C");
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("step", step, "T, steps of time").least(1);
    d.param("attn_scale", attn_scale, "of the products");
    d.param("tau", tau, "time constant of the neurons").least(1);
    d.param("threshold", threshold, "of the neurons");
    d.param("attn_threshold", attn_threshold, "of the neurons after the attention");
    d.input("x", x, ssa ? "TB N embed_dim" : "TB embed_dim H W", "time outside of the batch");
    for (auto [name, weight, bias, norm] :
         {std::tuple("q", &wq, &bq, &nq), {"k", &wk, &bk, &nk}, {"v", &wv, &bv, &nv}, {"proj", &wp, &bp, &np}}) {
      const std::string at = name;
      const bool here = !(token && at == "v");
      d.weight(at + (ssa ? "_linear.weight" : "_conv.weight"), *weight, ssa ? "embed_dim embed_dim" : "embed_dim embed_dim *one")
          .when(here, "kind other than QK token");
      auto& biased = d.weight(at + (ssa ? "_linear.bias" : "_conv.bias"), *bias, "embed_dim").when(ssa || at == "proj", "SSA, or proj");
      if (sdsa) biased.optional();  // the released layer has it, the tables' form of it has not
      d.weight(at + "_bn.weight", norm->weight, "embed_dim").when(here, "kind other than QK token");
      d.weight(at + "_bn.bias", norm->bias, "embed_dim").when(here, "kind other than QK token");
      d.weight(at + "_bn.running_mean", norm->mean, "embed_dim").init(Init::zeros).no_gradient().when(here, "kind other than QK token");
      d.weight(at + "_bn.running_var", norm->var, "embed_dim").init(Init::ones).no_gradient().when(here, "kind other than QK token");
    }
    d.ignore("*.num_batches_tracked");
    d.ignore("talking_heads.weight");  // the released SDSA owns it and does not use it
    d.size("TB", "step*B");
    d.size("embed_dim", "num_heads*D");
    d.size("*one", sdsa ? "1 1" : "1");
    d.output("out", out, ssa ? "TB N embed_dim" : "TB embed_dim H W");
    d.output("q", q, "*q", "spikes, laid out as x (positions flat but for SDSA)");
    d.output("k", k, "*k", "spikes");
    d.output("v", v, "*v", "spikes").when(!token, "kind other than QK token");
    d.output("attn", attn, "*attn", "spikes after the attention").when(!sdsa, "kind other than SDSA");
    d.output("spikes", spikes, "TB embed_dim H W", "of x").when(sdsa, "kind=SDSA");
    d.output("mask", mask, "TB num_heads 1 D", "channels that stay").when(sdsa, "kind=SDSA");
  }

  Tensor lif(const Ops& ops, const Tensor& from, double limit) const {
    const auto B = from.extent(0) / step;
    const Tensor none = ops.full({}, 0), one = ops.full({}, 1), edge = ops.full({}, float(limit)), slow = ops.full({}, float(tau));
    Tensor u;
    std::vector<Tensor> fired;
    for (std::int64_t t = 0; t < step; ++t) {
      const Tensor now = from.slice(0, t * B, B);
      u = t == 0 ? ops.div(now, slow) : ops.add(u, ops.div(ops.sub(now, u), slow));  // a division: x = tau threshold is a tie, and spikes
      const Tensor below = ops.less(u, edge);
      fired.push_back(ops.where(below, none, one));
      u = ops.where(below, u, none);
    }
    return ops.concat(fired, 0);
  }

  /// BN(W x) over tokens (TB, N, C), with the statistics of training.
  static Tensor layer(const Ops& ops, const Tensor& tokens, const Tensor& weight, const Tensor& bias, const Norm& norm) {
    const Tensor scale = ops.mul(norm.weight, ops.rsqrt(ops.shift(norm.var, 1e-5f)));
    const Tensor y = ops.linear(tokens, weight.reshape({weight.extent(0), weight.extent(1)}), bias);
    return ops.add(ops.mul(ops.sub(y, norm.mean), scale), norm.bias);
  }

  void run(Ops& ops) override {
    const bool ssa = kind == "SSA", sdsa = kind == "SDSA", token = kind == "QK token";
    if (x.extent(0) % step) fail("input x", "a first axis of whole steps of " + std::to_string(step), x.shape().text());
    const auto TB = x.extent(0), C = x.extent(ssa ? 2 : 1), H = num_heads;
    if (C % H) fail("parameter num_heads", "a divisor of " + std::to_string(C), std::to_string(H));
    const auto positions = [&](const Tensor& image) { return image.reshape({TB, C, image.extent(2) * image.extent(3)}).transpose(1, 2); };
    if (sdsa) spikes = lif(ops, x, threshold);
    const Tensor tokens = ssa ? x : positions(sdsa ? spikes : x);
    const auto N = tokens.extent(1), D = C / H;
    const auto shown = [&](const Tensor& t) { return ssa ? t : sdsa ? t.transpose(1, 2).reshape(x.shape()) : t.transpose(1, 2); };
    const auto heads = [&](const Tensor& t) { return t.reshape({TB, N, H, D}).permute({0, 2, 1, 3}); };
    const auto merged = [&](const Tensor& t) { return t.permute({0, 2, 1, 3}).reshape({TB, N, C}); };
    const Tensor sq = lif(ops, layer(ops, tokens, wq, bq, nq), threshold), sk = lif(ops, layer(ops, tokens, wk, bk, nk), threshold);
    const Tensor sv = token ? Tensor() : lif(ops, layer(ops, tokens, wv, bv, nv), threshold);
    q = shown(sq), k = shown(sk);
    if (!token) v = shown(sv);
    Tensor y;
    if (ssa) {
      y = attn = lif(ops, merged(ops.matmul(ops.scale(ops.matmul(heads(sq), heads(sk).transpose(2, 3)), float(attn_scale)), heads(sv))),
                     attn_threshold);
    } else if (token) {
      const Tensor gate = lif(ops, ops.sum(heads(sq), {3}, true), attn_threshold);
      attn = gate.transpose(2, 3);
      y = merged(ops.mul(gate, heads(sk)));
    } else if (!sdsa) {
      const Tensor read =
          lif(ops, ops.scale(ops.matmul(heads(sq), ops.matmul(heads(sk).transpose(2, 3), heads(sv))), float(attn_scale)), attn_threshold);
      attn = read.transpose(2, 3);
      y = merged(read);
    } else {
      mask = lif(ops, ops.sum(ops.mul(heads(sk), heads(sv)), {2}, true), threshold);
      y = merged(ops.mul(heads(sq), mask));
    }
    const Tensor last = layer(ops, y, wp, bp, np);
    out = sdsa ? ops.add(x, last.transpose(1, 2).reshape(x.shape())) : lif(ops, last, threshold);
    if (!ssa && !sdsa) out = out.transpose(1, 2).reshape(x.shape());
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(step_spiking_attention, SpikingAttention, "step-spiking-attention", "quantised", "benchmark", 2,
               "STEP: A Unified Spiking Transformer Evaluation Platform for Fair and Reproducible Benchmarking")
