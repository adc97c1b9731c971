// SPDX-License-Identifier: Apache-2.0
// DuoAttention (Xiao et al., 2024): a gate a key head says how much of full attention it needs; the others make do with sinks and
// recent keys.   out = o(alpha full(x) + (1 - alpha) streaming(x_streaming)),  alpha = clip(gate, 0, 1)
// step=sparsify turns gates into heads: a head stays full where its gate reaches a quantile of all.
#include <algorithm>
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct DuoAttention : Mechanism {
  Tensor x, x_streaming, cos, sin, gates, wq, wk, wv, wo, out, out_full, streaming_mask;
  std::map<std::string, Tensor> masks;
  std::string step = "layer";
  std::optional<std::int64_t> hidden_size, num_key_value_heads;
  std::int64_t num_attention_heads = 8, sink_size = 128, recent_size = 256;
  std::vector<double> sparsities{0.5};
  bool causal = true;

  void describe(Declaration& d) override {
    const bool layer = step == "layer";
    d.param("step", step, "the layer that trains the gates, or the choice of heads").one_of({"layer", "sparsify"});
    d.param("hidden_size", hidden_size, "width of x").computed("C");
    d.param("num_attention_heads", num_attention_heads, "query heads").least(1);
    d.param("num_key_value_heads", num_key_value_heads, "key and value heads").least(1).computed("num_attention_heads");
    d.param("sink_size", sink_size, "first keys a streaming head keeps").least(0);
    d.param("recent_size", recent_size, "last keys it keeps, the query's own included").least(1);
    d.param("causal", causal, "query i sees keys j <= i, always");
    d.param("sparsities", sparsities, "shares of streaming heads").least(0).most(1);
    d.input("x", x, "B N hidden_size", "tokens of the full stream").when(layer, "step=layer");
    d.input("x_streaming", x_streaming, "B N hidden_size", "tokens of the streaming stream").when(layer, "step=layer");
    d.input("cos", cos, "N D", "of the rotation, its halves alike").no_gradient().when(layer, "step=layer");
    d.input("sin", sin, "N D", "of the rotation").no_gradient().when(layer, "step=layer");
    d.input("full_attention_heads", gates, "layers Hk", "gates").no_gradient().when(!layer, "step=sparsify");
    const std::string keys = num_key_value_heads ? "num_key_value_heads" : "num_attention_heads";
    d.weight("full_attention_heads", gates, keys).init(Init::ones).when(layer, "step=layer");
    d.weight("q_proj.weight", wq, "num_attention_heads*D hidden_size").when(layer, "step=layer");
    d.weight("k_proj.weight", wk, keys + "*D hidden_size").when(layer, "step=layer");
    d.weight("v_proj.weight", wv, keys + "*D hidden_size").when(layer, "step=layer");
    d.weight("o_proj.weight", wo, "hidden_size num_attention_heads*D").when(layer, "step=layer");
    d.size("D", "hidden_size//num_attention_heads");
    d.size("layers", "32");
    d.output("out", out, layer ? "B N hidden_size" : "layers Hk", layer ? "" : "full heads at a sparsity of 0.5");
    d.output("out_full", out_full, "B N hidden_size", "full attention alone").when(layer, "step=layer");
    d.output("streaming_mask", streaming_mask, "N N").of(DType::boolean).when(layer, "step=layer");
    d.outputs("mask_{share}", masks, "layers Hk", "full heads at a sparsity of share percent").of(DType::i64).when(!layer, "step=sparsify");
  }

  /// 1 where the gate reaches the quantile, interpolated between the sorted gates; as released, no head at a share of 1.
  Tensor full_heads(const Ops& ops, double share) const {
    if (share >= 1) return Tensor::zeros(DType::f32, gates.shape());
    const auto n = gates.count();
    const Tensor flat = gates.reshape({n});
    const Tensor sorted = ops.index_select(flat, 0, ops.argsort(flat, 0));
    const double at = share * double(n - 1);
    const auto low = std::int64_t(at), high = std::min(low + 1, n - 1);
    const float* v = sorted.data<float>();
    const float edge = float(v[low] + (at - double(low)) * (v[high] - v[low]));
    return ops.where(ops.less(gates, ops.full({}, edge)), ops.full({}, 0), ops.full({}, 1));
  }

  void run(Ops& ops) override {
    if (step == "sparsify") {
      if (gates.count() == 0) fail("input full_attention_heads", "at least one gate", gates.shape().text());
      out = full_heads(ops, 0.5);
      for (const double share : sparsities)
        masks["mask_" + std::to_string(std::llround(100 * share))] = full_heads(ops, share).to(DType::i64);
      return;
    }
    if (!causal) fail("parameter causal", "true: streaming heads have no later keys", "false");
    const auto H = num_attention_heads, G = num_key_value_heads.value_or(H), N = x.extent(1);
    const Tensor mask = square_mask(N, [this](auto i, auto j) { return j <= i && (j < sink_size || i - j < recent_size); });
    if (wants(streaming_mask)) streaming_mask = mask.reshape({N, N});
    const auto attend = [&](const Tensor& from, const AttendOptions& o) {
      const Tensor q = rotate_half(ops, split_heads(ops.linear(from, wq), H), cos, sin);
      const Tensor k = rotate_half(ops, split_heads(ops.linear(from, wk), G), cos, sin);
      return ops.attend(q, k, split_heads(ops.linear(from, wv), G), o).out;
    };
    AttendOptions whole, part;
    whole.causal = true;
    part.mask = mask.view();
    const Tensor full = attend(x, whole), streaming = attend(x_streaming, part);
    const Tensor alpha = ops.repeat(ops.clamp(gates, 0, 1), 0, H / G).reshape({H, 1});
    out = ops.linear(join_heads(ops.add(ops.mul(alpha, full), ops.mul(ops.sub(ops.full({}, 1), alpha), streaming))), wo);
    if (wants(out_full)) out_full = ops.linear(join_heads(full), wo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(duo_attention, DuoAttention, "duo-attention", "cache", "algorithm", 1,
               "DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads")
