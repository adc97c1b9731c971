// SPDX-License-Identifier: Apache-2.0
// Recurrent interface network (Jabri et al., 2022), one block: few latents read many patches, think, and write back.
//   x += conv3x3(x);  z += read(z <- x), z += FF(z);  depth times z += self attention, z += FF(z);
//   patches_self_attn: x += linear attention(x), x += FF(x);  x += write(x <- z), x += FF(x);  latents = LN(z)
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Rin : Mechanism {
  struct Norm {
    Tensor gamma, beta;
  };
  struct Linear {
    Tensor weight, bias;
  };
  struct Attention {
    Norm norm, norm_context, norm_out;
    Tensor to_q, to_kv, to_qkv, to_out, q_norm, k_norm;
    Linear time;
  };
  struct FeedForward {
    Norm norm;
    Linear up, down, time;
  };
  Tensor x, latents_in, time, w_peg, b_peg, out, latents;
  Attention read, write, linear_attention;
  FeedForward read_ff, write_ff, linear_ff;
  std::vector<Attention> self;
  std::vector<FeedForward> self_ff;
  Norm final_norm;
  std::optional<std::int64_t> dim, dim_latent, time_cond_dim, height, width;
  std::int64_t latent_self_attn_depth = 2, heads = 4, dim_head = 32;
  bool qk_norm = false, patches_self_attn = true;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("dim_latent", dim_latent, "width of the latents").computed("width of latents");
    d.param("latent_self_attn_depth", latent_self_attn_depth, "self attentions of the latents").least(0).most(1000);
    d.param("heads", heads, "heads").least(1);
    d.param("dim_head", dim_head, "width of a head").least(1);
    d.param("qk_norm", qk_norm, "queries and keys of length sqrt(dim_head), times a learned gamma");
    d.param("patches_self_attn", patches_self_attn, "linear attention of the patches: the released code's own");
    d.param("time_cond_dim", time_cond_dim, "width of `time`; without it nothing is modulated").least(1);
    d.param("height", height, "rows of the grid").least(1).computed("sqrt(N)");
    d.param("width", width, "columns of the grid").least(1).computed("N/height");
    d.input("x", x, "B N dim", "patches, row by row");
    d.input("latents", latents_in, "B M dim_latent", "latents");
    d.input("time", time, "B time_cond_dim", "condition").when(time_cond_dim.has_value(), "time_cond_dim given");

    d.size("dim_latent", "dim");
    d.size("M", "max(N//8,1)");
    const auto norm = [&](const std::string& name, Norm& n, const std::string& wide) {
      d.weight(name + ".gamma", n.gamma, wide);
      d.weight(name + ".beta", n.beta, wide).init(Init::zeros);
    };
    const auto modulation = [&](const std::string& name, Linear& l, const std::string& wide, bool optional) {
      for (auto* entry : {&d.weight(name + ".time_cond.1.weight", l.weight, "2*" + wide + " time_cond_dim"),
                          &d.weight(name + ".time_cond.1.bias", l.bias, "2*" + wide)}) {
        entry->init(Init::zeros).when(time_cond_dim.has_value(), "time_cond_dim given");
        if (optional) entry->optional();
      }
    };
    const auto attention = [&](const std::string& name, Attention& a, const std::string& wide, const std::string& context, bool linear) {
      norm(name + ".norm", a.norm, wide);
      if (!context.empty()) norm(name + ".norm_context", a.norm_context, context);
      if (linear) {
        d.weight(name + ".to_qkv.weight", a.to_qkv, "3*heads*dim_head " + wide);
        d.weight(name + ".to_out.0.weight", a.to_out, wide + " heads*dim_head");
        norm(name + ".to_out.1", a.norm_out, wide);
      } else {
        d.weight(name + ".to_q.weight", a.to_q, "heads*dim_head " + wide);
        d.weight(name + ".to_kv.weight", a.to_kv, "2*heads*dim_head " + (context.empty() ? wide : context));
        d.weight(name + ".to_out.weight", a.to_out, wide + " heads*dim_head");
      }
      d.weight(name + ".q_norm.gamma", a.q_norm, "heads 1 dim_head").init(Init::ones).when(qk_norm, "qk_norm");
      d.weight(name + ".k_norm.gamma", a.k_norm, "heads 1 dim_head").init(Init::ones).when(qk_norm, "qk_norm");
      modulation(name, a.time, wide, false);
    };
    const auto feed_forward = [&](const std::string& name, FeedForward& f, const std::string& wide) {
      norm(name + ".norm", f.norm, wide);
      d.linear(name + ".net.0", f.up.weight, f.up.bias, "4*" + wide, wide);
      d.linear(name + ".net.2", f.down.weight, f.down.bias, wide, "4*" + wide);
      modulation(name, f.time, wide, true);
    };
    d.weight("patches_peg.ds_conv.weight", w_peg, "dim 1 3 3");
    d.weight("patches_peg.ds_conv.bias", b_peg, "dim");
    attention("latents_attend_to_patches", read, "dim_latent", "dim", false);
    feed_forward("latents_cross_attn_ff", read_ff, "dim_latent");
    self.resize(std::size_t(latent_self_attn_depth));
    self_ff.resize(self.size());
    for (std::size_t i = 0; i < self.size(); ++i) {
      attention("latent_self_attns." + std::to_string(i) + ".0", self[i], "dim_latent", "", false);
      feed_forward("latent_self_attns." + std::to_string(i) + ".1", self_ff[i], "dim_latent");
    }
    norm("latent_final_norm", final_norm, "dim_latent");
    if (patches_self_attn) {
      attention("patches_self_attn", linear_attention, "dim", "", true);
      feed_forward("patches_self_attn_ff", linear_ff, "dim");
    }
    attention("patches_attend_to_latents", write, "dim", "dim_latent", false);
    feed_forward("patches_cross_attn_ff", write_ff, "dim");
    d.output("out", out, "B N dim", "patches");
    d.output("latents", latents, "B M dim_latent");
  }

  /// t (1 + scale) + shift where there is a condition.
  Tensor modulated(Ops& ops, const Tensor& t, const Linear& l) const {
    if (!l.weight.defined()) return t;
    const auto C = t.extent(2);
    const Tensor both = ops.linear(ops.silu(time), l.weight, l.bias).reshape({t.extent(0), 1, 2 * C});
    return ops.add(ops.mul(t, ops.shift(both.slice(2, 0, C), 1)), both.slice(2, C, C));
  }
  Tensor unit(Ops& ops, const Tensor& t, const Tensor& gamma) const {
    if (!qk_norm) return t;
    return ops.mul(ops.scale(ops.l2_normalise(t, 3), std::sqrt(float(dim_head))), gamma.reshape({heads, dim_head}));
  }
  Tensor attended(Ops& ops, const Tensor& from, const Tensor& context, const Attention& a) const {
    const Tensor normed = ops.layer_norm(from, a.norm.gamma, a.norm.beta);
    const Tensor seen = context.defined() ? ops.layer_norm(context, a.norm_context.gamma, a.norm_context.beta) : normed;
    const auto inner = heads * dim_head;
    const Tensor kv = ops.linear(seen, a.to_kv);
    const Tensor q = split_heads(ops.linear(modulated(ops, normed, a.time), a.to_q), heads), k = split_heads(kv.slice(2, 0, inner), heads);
    const Tensor got = ops.attend(unit(ops, q, a.q_norm), unit(ops, k, a.k_norm), split_heads(kv.slice(2, inner, inner), heads)).out;
    return ops.linear(join_heads(got), a.to_out);
  }
  /// softmax_d(q) (softmax_n(k)^T v) / sqrt(d).
  Tensor linearly(Ops& ops, const Tensor& from, const Attention& a) const {
    const Tensor qkv = ops.linear(modulated(ops, ops.layer_norm(from, a.norm.gamma, a.norm.beta), a.time), a.to_qkv);
    const auto inner = heads * dim_head;
    const auto part = [&](std::int64_t which) { return split_heads(qkv.slice(2, which * inner, inner), heads); };
    const Tensor q = ops.scale(ops.softmax(unit(ops, part(0), a.q_norm), 3), 1 / std::sqrt(float(dim_head)));
    const Tensor k = ops.softmax(unit(ops, part(1), a.k_norm), 1);
    const Tensor got = ops.einsum("bnhd,bhde->bnhe", {q, ops.einsum("bnhd,bnhe->bhde", {k, part(2)})});
    return ops.layer_norm(ops.linear(join_heads(got), a.to_out), a.norm_out.gamma, a.norm_out.beta);
  }
  Tensor fed(Ops& ops, const Tensor& from, const FeedForward& f) const {
    const Tensor t = modulated(ops, ops.layer_norm(from, f.norm.gamma, f.norm.beta), f.time);
    return ops.linear(ops.gelu(ops.linear(t, f.up.weight, f.up.bias)), f.down.weight, f.down.bias);
  }
  Tensor convolved(Ops& ops, const Tensor& patches) const {
    const auto B = patches.extent(0), N = patches.extent(1), C = patches.extent(2);
    const auto rows = height.value_or(width ? N / *width : std::lround(std::sqrt(double(N)))), columns = rows == 0 ? 0 : N / rows;
    if (rows * columns != N || columns != width.value_or(columns))
      fail("input x", "a grid of height x width patches", patches.shape().text());
    ConvOptions depthwise;
    depthwise.groups = C;
    depthwise.padding = {1};
    const Tensor map = patches.transpose(1, 2).reshape({B, C, rows, columns});
    return ops.conv(map, w_peg, b_peg, depthwise).reshape({B, C, N}).transpose(1, 2);
  }

  void run(Ops& ops) override {
    Tensor patches = ops.add(x, convolved(ops, x)), z = latents_in;
    z = ops.add(z, attended(ops, z, patches, read));
    z = ops.add(z, fed(ops, z, read_ff));
    for (std::size_t i = 0; i < self.size(); ++i) {
      z = ops.add(z, attended(ops, z, {}, self[i]));
      z = ops.add(z, fed(ops, z, self_ff[i]));
    }
    if (patches_self_attn) {
      patches = ops.add(patches, linearly(ops, patches, linear_attention));
      patches = ops.add(patches, fed(ops, patches, linear_ff));
    }
    patches = ops.add(patches, attended(ops, patches, z, write));
    out = ops.add(patches, fed(ops, patches, write_ff));
    latents = ops.layer_norm(z, final_norm.gamma, final_norm.beta);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(rin, Rin, "rin", "lowrank", "block", 2, "Scalable Adaptive Computation for Iterative Generation")
