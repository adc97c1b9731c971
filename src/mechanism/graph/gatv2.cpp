// SPDX-License-Identifier: Apache-2.0
// GATv2 (Brody et al., 2022): the nonlinearity comes before the scoring vector, so the ranking of the neighbours depends on the query.
//   e_ij = att . LeakyReLU(W_l x_j + W_r x_i [+ W_e f_ij]),  alpha = softmax of e over the edges j -> i,  out_i = sum alpha W_l x_j
#include "mechanism/graph.h"

namespace heed::mechanism {
namespace {

struct Gatv2 : Mechanism {
  Tensor x, edge_index, edge_attr, l_weight, l_bias, r_weight, r_bias, att, bias, lin_edge, out, weights, loops;
  std::optional<std::int64_t> in_channels, out_channels, edge_dim;
  std::int64_t heads = 1;
  double negative_slope = 0.2;
  bool concat = true, add_self_loops = true, share_weights = false;

  void describe(Declaration& d) override {
    d.param("in_channels", in_channels, "C").least(1).computed("from the weights");
    d.param("out_channels", out_channels, "O, a head").least(1).computed("from the weights");
    d.param("heads", heads, "H").least(1);
    d.param("concat", concat, "heads are joined; else averaged");
    d.param("negative_slope", negative_slope, "of the leaky ReLU");
    d.param("add_self_loops", add_self_loops, "loops are removed and one a node appended");
    d.param("share_weights", share_weights, "lin_r is lin_l");
    d.param("edge_dim", edge_dim, "De; given, edges have features").least(1).computed("none");
    const std::string C = in_channels ? "in_channels" : "C", O = out_channels ? "out_channels" : "O", HO = "heads*" + O;
    d.input("x", x, "N " + C, "nodes");
    d.input("edge_index", edge_index, "2 E", "source and target of each edge").of(DType::i64).between("0", "N-1");
    d.input("edge_attr", edge_attr, "E edge_dim", "features of the edges").when(edge_dim.has_value(), "edge_dim");
    d.weight("lin_l.weight", l_weight, HO + " " + C);
    d.weight("lin_l.bias", l_bias, HO).optional().sample();
    d.weight("lin_r.weight", r_weight, HO + " " + C).required = !share_weights;
    d.weight("lin_r.bias", r_bias, HO).optional().sample();
    d.weight("att", att, "1 heads " + O);
    d.weight("bias", bias, concat ? HO : O).optional().sample();
    d.weight("lin_edge.weight", lin_edge, HO + " edge_dim").when(edge_dim.has_value(), "edge_dim");
    d.size("E", "8*N");
    d.size("O", "D");
    d.output("out", out, "N " + (concat ? HO : O));
    d.output("weights", weights, "edges heads");
    d.output("edge_index_with_loops", loops, "2 edges", "the edges in the order of the weights").of(DType::i64);
  }

  void run(Ops& ops) override {
    const Graph graph = graph_of(edge_index, x.extent(0), x.extent(0), add_self_loops);
    ListTensors t;
    t.k = t.v = node_heads(ops.linear(x, l_weight, l_bias), heads);
    t.q = share_weights ? t.k : node_heads(ops.linear(x, r_weight, r_bias), heads);
    t.att = att.reshape({heads, att.extent(2)});
    if (edge_dim) t.features = node_heads(ops.linear(edge_features(ops, graph, edge_attr), lin_edge), heads);
    ListOptions o;
    o.score = ListScore::leaky;
    o.negative_slope = float(negative_slope);
    const Attended got = ops.attend_lists(t, graph.lists(), o, wants(weights) ? unsigned(want_weights) : 0u);
    out = combine_heads(ops, got.out, concat);
    if (bias.defined()) out = ops.add(out, bias);
    weights = got.weights;
    loops = graph.edges;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(gatv2, Gatv2, "gatv2", "graph", "module", 1, "How Attentive are Graph Attention Networks?")
