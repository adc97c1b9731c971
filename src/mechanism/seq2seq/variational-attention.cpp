// SPDX-License-Identifier: Apache-2.0
// Latent alignment (Deng et al., 2018): the position z that is read is random, p(z) = softmax of the scores,
//   out = tanh(W [q; E_p m_z]),  and for the exact marginal every f(m_z) = tanh(W [q; m_z])
#include <limits>

#include "mechanism/scores.h"

namespace heed::mechanism {
namespace {

struct VariationalAttention : Mechanism {
  Tensor query, memory, memory_lengths, linear_context, linear_query, v, linear_in, out_weight, out_bias, out, enumerated, weights;
  std::string attn_type = "mlp", mode = "enum";
  std::optional<std::int64_t> src_dim, tgt_dim, attn_dim;
  std::int64_t k = 0;

  void describe(Declaration& d) override {
    const bool mlp = attn_type == "mlp";
    d.param("attn_type", attn_type, "how a query and a position are compared").one_of({"mlp", "general"});
    d.param("src_dim", src_dim, "ds, of the memory").least(1).computed("from memory");
    d.param("tgt_dim", tgt_dim, "dt, of the query").least(1).computed("from query");
    d.param("attn_dim", attn_dim, "of the scores of mlp").least(1).computed("from the weights");
    d.param("mode", mode, "every position is enumerated; the training loss differs").one_of({"enum", "exact"});
    d.param("k", k, "positions kept, the best ones; 0: all").least(0);
    d.input("query", query, "B dt", "decoder state");
    d.input("memory", memory, "B S ds", "source");
    d.input("memory_lengths", memory_lengths, "B", "positions of each source").of(DType::i64).within("0", "S").between("1", "S").optional();
    d.weight("linear_context.weight", linear_context, "a ds").when(mlp, "attn_type=mlp");
    d.weight("linear_query.weight", linear_query, "a dt").when(mlp, "attn_type=mlp");
    d.weight("v.weight", v, "1 a").when(mlp, "attn_type=mlp");
    d.weight("linear_in.weight", linear_in, "ds dt").when(!mlp, "attn_type=general");
    d.weight("linear_out.weight", out_weight, "dt dt+ds");
    d.weight("linear_out.bias", out_bias, "dt").when(mlp, "attn_type=mlp");
    d.size("dt", tgt_dim ? "tgt_dim" : "C");
    d.size("ds", src_dim ? "src_dim" : "C");
    d.size("a", attn_dim ? "attn_dim" : "dt");
    d.output("out", out, "B dt", "of the expected memory");
    d.output("h_enumerated", enumerated, "S B dt", "of each position");
    d.output("weights", weights, "B S", "p(z)");
  }

  void run(Ops& ops) override {
    const auto B = query.extent(0), S = memory.extent(1);
    const Tensor one = query.reshape({B, 1, query.extent(1)});
    Tensor scores = attn_type == "mlp" ? additive_scores(ops, ops.linear(one, linear_query), ops.linear(memory, linear_context), v)
                                       : ops.matmul(ops.linear(one, linear_in), memory.transpose(1, 2));
    const Tensor none = ops.full({}, -std::numeric_limits<float>::infinity());
    if (memory_lengths.defined()) scores = ops.where(before_lengths(memory_lengths, S), scores, none);
    if (k > 0 && k < S) {
      const Tensor best = ops.topk(ops.no_gradient(scores, "choice of the best"), k, 2).second;
      scores = ops.where(ops.less(ops.full({}, 0), ops.scatter_add(ops.full(best.shape(), 1), 2, best, S)), scores, none);
    }
    const Tensor p = ops.softmax(scores, 2);
    weights = p.reshape({B, S});
    const auto read = [&](const Tensor& q, const Tensor& context) {
      return ops.tanh(ops.linear(ops.concat({q, context}, 2), out_weight, out_bias));
    };
    out = read(one, ops.matmul(p, memory)).reshape({B, out_weight.extent(0)});
    if (wants(enumerated)) enumerated = read(one.broadcast({B, S, query.extent(1)}), memory).permute({1, 0, 2});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(variational_attention, VariationalAttention, "variational-attention", "seq2seq", "algorithm", 2,
               "Latent Alignment and Variational Attention")
