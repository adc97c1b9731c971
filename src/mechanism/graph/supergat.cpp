// SPDX-License-Identifier: Apache-2.0
// SuperGAT (Kim and Oh, 2021): for an edge j -> i, h = x W, a score e_ij, softmax of LeakyReLU(e) over the edges into i, out_i = sum alpha
// h_j.
//   gat_originated  a . [h_i; h_j]        dot_product         h_i . h_j
//   mask_only       (a . [h_i; h_j]) sigmoid(h_i . h_j)       scaled_dot_product  h_i . h_j / sqrt(O)
// link_logits are what the self-supervised loss puts through a sigmoid, over the edges and the negative samples.
#include <cmath>

#include "mechanism/graph.h"

namespace heed::mechanism {
namespace {

struct Supergat : Mechanism {
  Tensor x, edge_index, neg_edge_index, weight, att, bias, out, weights, link_logits, loops;
  std::optional<std::int64_t> in_channels, out_channels;
  std::int64_t heads = 1;
  bool concat = true;
  std::string attention_type = "mask_only";
  double negative_slope = 0.2;

  bool additive() const { return attention_type == "mask_only" || attention_type == "gat_originated"; }

  void describe(Declaration& d) override {
    d.param("in_channels", in_channels, "C").least(1).computed("from the weights");
    d.param("out_channels", out_channels, "O, a head").least(1).computed("from the weights");
    d.param("heads", heads, "H").least(1);
    d.param("concat", concat, "heads are joined; else averaged");
    d.param("attention_type", attention_type, "the score of an edge")
        .one_of({"mask_only", "scaled_dot_product", "gat_originated", "dot_product"});
    d.param("negative_slope", negative_slope, "of the leaky ReLU");
    const std::string O = out_channels ? "out_channels" : "O", HO = "heads*" + O;
    d.input("x", x, "N C", "nodes");
    d.input("edge_index", edge_index, "2 E", "source and target of each edge").of(DType::i64).between("0", "N-1");
    d.input("neg_edge_index", neg_edge_index, "2 En", "pairs that are no edges").of(DType::i64).between("0", "N-1").optional();
    d.weight("weight", weight, "C " + HO);
    d.weight("att_mh_1", att, "1 heads 2*" + O).when(additive(), "attention_type=mask_only|gat_originated");
    d.weight("bias", bias, concat ? HO : O);
    if (in_channels) d.size("C", "in_channels");
    d.size("E", "8*N");
    d.size("O", "D");
    d.size("En", "E");
    d.output("out", out, "N " + (concat ? HO : O));
    d.output("weights", weights, "edges heads");
    d.output("link_logits", link_logits, "pairs heads", "of the edges, then of the negative pairs");
    d.output("edge_index_with_loops", loops, "2 edges", "the edges in the order of the weights").of(DType::i64);
  }

  /// (E, H): the score of each edge before the leaky ReLU, and what its link logit is.
  std::pair<Tensor, Tensor> scores(const Ops& ops, const Tensor& h, const Tensor& edges) const {
    const auto row = [&](int which) { return edges.slice(0, which, 1).reshape({edges.extent(1)}); };
    const Tensor target = row(1), source = row(0);
    Tensor dot, sum;
    if (attention_type != "gat_originated") dot = ops.sum(ops.mul(ops.index_select(h, 0, target), ops.index_select(h, 0, source)), {2});
    if (attention_type == "scaled_dot_product") dot = ops.scale(dot, 1 / std::sqrt(float(h.extent(2))));
    if (additive()) {
      const auto O = h.extent(2);
      const auto side = [&](std::int64_t begin, const Tensor& node) {
        return ops.index_select(ops.sum(ops.mul(h, att.slice(2, begin, O)), {2}), 0, node);
      };
      sum = ops.add(side(0, target), side(O, source));
    }
    if (attention_type == "mask_only") return {ops.mul(sum, ops.sigmoid(dot)), dot};
    return {additive() ? sum : dot, additive() ? sum : dot};
  }

  void run(Ops& ops) override {
    const auto N = x.extent(0);
    const Tensor h = node_heads(ops.matmul(x, weight), heads);
    const Graph graph = graph_of(edge_index, N, N, true);
    if (neg_edge_index.defined()) check_edges("neg_edge_index", neg_edge_index, N, N);
    const auto [score, logit] = scores(ops, h, graph.edges);
    ListTensors t;
    t.v = h;
    t.bias = ops.leaky_relu(score, float(negative_slope));
    ListOptions o;
    o.score = ListScore::edge;
    const Attended got = ops.attend_lists(t, graph.lists(), o, wants(weights) ? unsigned(want_weights) : 0u);
    out = ops.add(combine_heads(ops, got.out, concat), bias);
    weights = got.weights;
    loops = graph.edges;
    if (!wants(link_logits)) return;
    link_logits = logit;
    if (!neg_edge_index.defined()) return;
    link_logits = ops.concat({logit, scores(ops, h, neg_edge_index).second}, 0);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(supergat, Supergat, "supergat", "graph", "module", 2,
               "How to Find Your Friendly Neighborhood: Graph Attention Design with Self-Supervision")
