// SPDX-License-Identifier: Apache-2.0
// Mixture of attention heads (Zhang et al., 2022): every token chooses k of X experts, each with its own query and output matrix; all
// share one head of keys and values.
//   p = softmax(x W_g),  y = sum over the top k of p_e (softmax((x Q_e) K^T / sqrt(d)) V) O_e
#include <numeric>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct MoaHeads : Mechanism {
  Tensor x, wk, bk, wv, bv, w_gate, w_query, w_output, out, indices, gates, aux_loss;
  std::optional<std::int64_t> embed_dim;
  std::int64_t num_heads = 4, num_expert = 12, head_dim = 256;
  bool causal = false;
  double cvloss = 0, switchloss = 0, zloss = 0;

  void describe(Declaration& d) override {
    d.param("embed_dim", embed_dim, "width of x").computed("E");
    d.param("num_heads", num_heads, "k, experts that a token uses").least(1);
    d.param("num_expert", num_expert, "X, experts").least(1);
    d.param("head_dim", head_dim, "width of a head").least(1);
    d.param("causal", causal, "query i sees keys j <= i");
    d.param("cvloss", cvloss, "weight of the squared coefficient of variation of the experts' gates").least(0);
    d.param("switchloss", switchloss, "weight of X sum_e f_e P_e, shares of choices and of probability").least(0);
    d.param("zloss", zloss, "weight of the mean squared log-sum-exp of the router").least(0);
    d.input("x", x, "B N embed_dim", "tokens");
    d.weight("k_proj.weight", wk, "head_dim embed_dim");
    d.weight("k_proj.bias", bk, "head_dim").optional().sample();
    d.weight("v_proj.weight", wv, "head_dim embed_dim");
    d.weight("v_proj.bias", bv, "head_dim").optional().sample();
    d.weight("q_proj.w_gate", w_gate, "embed_dim num_expert", "router");
    d.weight("q_proj.experts.w", w_query, "num_expert embed_dim head_dim", "queries");
    d.weight("q_proj.output_experts.w", w_output, "num_expert head_dim embed_dim", "outputs");
    d.output("out", out, "B N embed_dim");
    d.output("indices", indices, "B N num_heads", "experts by descending gate").of(DType::i64);
    d.output("gates", gates, "B N num_heads", "their probabilities, not normalised again");
    d.output("aux_loss", aux_loss, "1", "the three losses").when(cvloss > 0 || switchloss > 0 || zloss > 0, "a loss weight is not 0");
  }

  /// Row i times the matrix of its expert; rows and `sizes` are in the order of the experts.
  static Tensor by_expert(Ops& ops, const Tensor& rows, const Tensor& matrices, const std::vector<std::int64_t>& sizes) {
    std::vector<Tensor> parts;
    const auto groups = ops.split(rows, 0, sizes);
    for (std::size_t e = 0; e < groups.size(); ++e)
      parts.push_back(ops.matmul(groups[e], matrices.slice(0, std::int64_t(e), 1).reshape({matrices.extent(1), matrices.extent(2)})));
    return ops.concat(parts, 0);
  }

  Tensor losses(Ops& ops, const Tensor& logits, const Tensor& p) const {
    const auto X = num_expert;
    const auto share = [&](const Tensor& v) { return ops.div(v, ops.maximum(ops.sum(ops.abs(v), {0}, true), ops.full({}, 1e-12f))); };
    const auto per_expert = [&](const Tensor& chosen) { return ops.sum(ops.scatter_add(chosen, 2, indices, X), {0, 1}); };
    const Tensor g = share(per_expert(gates)), counts = share(per_expert(ops.full(gates.shape(), 1)));
    const Tensor mean = ops.mean(g, {0}, true), squares = ops.sum(ops.square(ops.sub(g, mean)), {0}, true);
    const Tensor cv = ops.div(ops.scale(squares, X > 1 ? 1 / float(X - 1) : 0), ops.shift(ops.square(mean), 1e-10f));
    const Tensor balance = ops.scale(ops.sum(ops.mul(share(ops.sum(p, {0, 1})), counts), {0}, true), float(X));
    const Tensor z = ops.mean(ops.square(ops.logsumexp(logits, 2)), {0, 1}).reshape({1});
    Tensor total = ops.full({1}, 0);
    for (const auto& [weight, loss] : {std::pair{cvloss, cv}, {switchloss, balance}, {zloss, z}})
      if (weight > 0) total = ops.add(total, ops.scale(loss, float(weight)));
    return total;
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1), E = x.extent(2), K = num_heads, d = head_dim, slots = B * N * K;
    if (K > num_expert) fail("parameter num_heads", "at most num_expert", std::to_string(K));
    const Tensor logits = ops.matmul(x, w_gate), p = ops.softmax(logits, 2);
    std::tie(gates, indices) = ops.topk(p, K, 2);

    // Slot (token, i) holds the token's i-th expert; sorted by expert, so that each one's rows are one product.
    const auto* expert = indices.data<std::int64_t>();
    Tensor order(DType::i64, {slots}), tokens(DType::i64, {slots});
    std::vector<std::int64_t> sizes(std::size_t(num_expert), 0);
    auto* slot = order.data<std::int64_t>();
    std::iota(slot, slot + slots, std::int64_t{0});
    std::stable_sort(slot, slot + slots, [&](std::int64_t a, std::int64_t b) { return expert[a] < expert[b]; });
    for (std::int64_t i = 0; i < slots; ++i) ++sizes[std::size_t(expert[i])], tokens.data<std::int64_t>()[i] = slot[i] / K;

    const Tensor asked = by_expert(ops, ops.index_select(x.reshape({B * N, E}), 0, tokens), w_query, sizes);
    const Tensor q = ops.index_add(asked, 0, order, slots).reshape({B, N, K, d});
    AttendOptions o;
    o.causal = causal;
    const Tensor k = ops.linear(x, wk, bk).reshape({B, N, 1, d}), v = ops.linear(x, wv, bv).reshape({B, N, 1, d});
    const Tensor read = ops.mul(ops.attend(q, k, v, o).out, gates.reshape({B, N, K, 1})).reshape({slots, d});
    out = ops.index_add(by_expert(ops, ops.index_select(read, 0, order), w_output, sizes), 0, tokens, B * N).reshape({B, N, E});
    if (wants(aux_loss)) aux_loss = losses(ops, logits, p);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(moa_heads, MoaHeads, "moa-heads", "heads", "module", 2, "Mixture of Attention Heads: Selecting Attention Heads Per Token")
