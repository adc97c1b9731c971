// SPDX-License-Identifier: Apache-2.0
// Multi-token attention (Golovneva et al., 2025): scores and weights of neighbouring queries, keys and heads are mixed.
//   z = q k^T / sqrt(D), future entries 0;  z'_ij = sum_ab K[a, b] z[i + a - (cq - 1), j + b - (ck - 1)/2];  heads mixed (wpsm);
//   masked softmax;  the same kernel form on the weights;  groups of heads mixed;  times v;  norm a head, gate, wo
#include <cmath>
#include <limits>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct MultiToken : Mechanism {
  Tensor x, wq, wk, wv, wo, kernel, kernel_after, head_kernel, wpsm, norm, w_gate, b_gate, out, weights;
  std::int64_t n_heads = 8, layer_id = 0;
  std::optional<std::int64_t> n_kv_heads, head_dim, query_kernel_size = 6, key_kernel_size = 11, after_query, after_key, head_kernel_size;
  std::string rope = "none", pad_key = "both";
  bool causal = true, use_mta = true, pre_sm_linear_head = false, group_norm = false, layer_norm_rescale = false, add_gating = false;

  void describe(Declaration& d) override {
    d.param("n_heads", n_heads, "query heads").least(1);
    d.param("n_kv_heads", n_kv_heads, "key and value heads").least(1).computed("n_heads");
    d.param("head_dim", head_dim, "width of a head").least(1).computed("C/n_heads");
    d.param("layer_id", layer_id, "lambda_init = 0.8 - 0.6 exp(-0.3 layer_id)").least(0);
    d.param("rope", rope, "rotation of queries and keys").one_of({"none", "interleaved theta 1e4"});
    d.param("causal", causal, "query i sees keys j <= i");
    d.param("use_mta", use_mta, "mix scores and weights; else plain attention");
    d.param("query_kernel_size", query_kernel_size, "cq, queries that the kernel on the scores covers").least(1);
    d.param("key_kernel_size", key_kernel_size, "ck, keys that it covers").least(1);
    d.param("pre_sm_linear_head", pre_sm_linear_head, "mix the heads' scores before the softmax");
    d.param("after_sm_query_kernel_size", after_query, "queries that the kernel on the weights covers").least(1);
    d.param("after_sm_key_kernel_size", after_key, "keys that it covers").least(1);
    d.param("head_kernel_size", head_kernel_size, "heads of a group whose weights are mixed").least(1);
    d.param("group_norm", group_norm, "RMS norm a head");
    d.param("layer_norm_rescale", layer_norm_rescale, "times 1 - lambda_init after that norm");
    d.param("add_gating", add_gating, "times sigmoid of a learned number a head and token");
    d.param("pad_key", pad_key, "where the keys' kernel reaches").one_of({"both", "left", "right"});
    const std::string D = head_dim ? "head_dim" : "int(C/n_heads)", G = n_kv_heads ? "n_kv_heads" : "n_heads";
    d.input("x", x, "B N C", "tokens");
    d.weight("wq.weight", wq, "n_heads*" + D + " C");
    d.weight("wk.weight", wk, G + "*" + D + " C");
    d.weight("wv.weight", wv, G + "*" + D + " C");
    d.weight("wo.weight", wo, "C n_heads*" + D);
    const bool before = use_mta && query_kernel_size && key_kernel_size, after = use_mta && after_query && after_key;
    d.weight("mta_kernel", kernel, "n_heads 1 query_kernel_size key_kernel_size").when(before, "use_mta, both kernel sizes given");
    d.weight("mta_kernel_after_sm", kernel_after, "n_heads 1 after_sm_query_kernel_size after_sm_key_kernel_size")
        .when(after, "use_mta, both after_sm sizes given");
    d.weight("head_kernel", head_kernel, "n_heads/head_kernel_size head_kernel_size head_kernel_size")
        .when(use_mta && head_kernel_size, "use_mta, head_kernel_size given");
    d.weight("wpsm.weight", wpsm, "n_heads n_heads").when(use_mta && pre_sm_linear_head, "use_mta, pre_sm_linear_head");
    d.weight("subln.weight", norm, D).when(group_norm, "group_norm");
    d.weight("gate.weight", w_gate, "1 " + D).when(add_gating, "add_gating");
    d.weight("gate.bias", b_gate, "1").when(add_gating, "add_gating");
    if (head_dim) d.size("C", "n_heads*head_dim");
    d.output("out", out, "B N C");
    d.output("weights", weights, "B n_heads N N", "what multiplies the values");
  }

  /// The kernel of each head slid over its plane (B, H, N, N): no query after i, keys as pad_key says.
  Tensor slid(Ops& ops, const Tensor& planes, const Tensor& taps) const {
    const auto cq = taps.extent(2), ck = taps.extent(3);
    if (pad_key == "both" && ck % 2 == 0) fail("parameter key_kernel_size", "an odd number where pad_key=both", std::to_string(ck));
    const auto left = pad_key == "left" ? ck - 1 : pad_key == "right" ? 0 : (ck - 1) / 2;
    ConvOptions depthwise;
    depthwise.groups = n_heads;
    return ops.conv(ops.pad(planes, {2, 3}, {cq - 1, left}, {0, ck - 1 - left}), taps, {}, depthwise);
  }

  Tensor rotated(Ops& ops, const Tensor& t) const {
    if (rope == "none") return t;
    const auto N = t.extent(1), half = t.extent(3) / 2;
    if (t.extent(3) % 2 != 0) fail("parameter head_dim", "an even width with rope", std::to_string(t.extent(3)));
    const Tensor cosines(DType::f32, {N, half}), sines(DType::f32, {N, half});
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t i = 0; i < half; ++i) {
        const double angle = double(n) * std::pow(1e4, -double(2 * i) / double(t.extent(3)));
        cosines.data<float>()[n * half + i] = float(std::cos(angle));
        sines.data<float>()[n * half + i] = float(std::sin(angle));
      }
    return ops.rope(t, cosines, sines, true);
  }

  /// What multiplies the values; q, k (B, H, N, D).
  Tensor mixed(Ops& ops, const Tensor& q, const Tensor& k) const {
    const auto B = q.extent(0), H = n_heads, N = q.extent(2);
    const Tensor seen = causal ? ops.triangle(N, N) : ops.triangle(N, N, N), none = ops.full({}, 0);
    Tensor z = ops.scale(ops.matmul(q, k.transpose(2, 3)), 1 / std::sqrt(float(q.extent(3))));
    if (kernel.defined()) z = slid(ops, ops.where(seen, z, none), kernel);
    if (wpsm.defined()) z = ops.einsum("bhij,gh->bgij", {z, wpsm});
    Tensor a = ops.softmax(ops.where(seen, z, ops.full({}, -std::numeric_limits<float>::infinity())), 3);
    if (kernel_after.defined()) a = ops.where(seen, slid(ops, a, kernel_after), none);
    if (!head_kernel.defined()) return a;
    const auto c = head_kernel.extent(1);
    return ops.einsum("bghij,ghk->bgkij", {a.reshape({B, H / c, c, N, N}), head_kernel}).reshape({B, H, N, N});
  }

  void run(Ops& ops) override {
    const auto G = n_kv_heads.value_or(n_heads);
    if (n_heads % G || (head_kernel.defined() && n_heads % *head_kernel_size))
      fail("parameter n_heads", "a multiple of n_kv_heads and head_kernel_size", std::to_string(n_heads));
    const Tensor q = rotated(ops, split_heads(ops.linear(x, wq), n_heads)), k = rotated(ops, split_heads(ops.linear(x, wk), G));
    const Tensor v = split_heads(ops.linear(x, wv), G);
    Tensor read;  // (B, N, H, D)
    if (use_mta) {
      const auto heads_first = [&](const Tensor& t) { return ops.repeat(t, 2, n_heads / t.extent(2)).permute({0, 2, 1, 3}); };
      weights = mixed(ops, heads_first(q), heads_first(k));
      read = ops.matmul(weights, heads_first(v)).permute({0, 2, 1, 3});
    } else {
      AttendOptions o;
      o.causal = causal;
      read = attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr);
    }
    if (group_norm) {
      read = ops.rms_norm(read, norm, 1e-5f);
      if (layer_norm_rescale) read = ops.scale(read, float(0.2 + 0.6 * std::exp(-0.3 * double(layer_id))));
    }
    if (add_gating) read = ops.mul(read, ops.sigmoid(ops.linear(read, w_gate, b_gate)));
    out = ops.linear(join_heads(read), wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(multi_token_attention, MultiToken, "multi-token-attention", "dense", "module", 2, "Multi-Token Attention")
