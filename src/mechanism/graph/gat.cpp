// SPDX-License-Identifier: Apache-2.0
// Graph attention networks (Velickovic et al., 2018): for an edge j -> i, h = W x,
//   e_ij = LeakyReLU(a_src . h_j + a_dst . h_i [+ a_edge . W_e f_ij]),  alpha = softmax of e over the edges into i,  out_i = sum alpha h_j
#include "mechanism/graph.h"

namespace heed::mechanism {
namespace {

struct Gat : Mechanism {
  Tensor x, x_src, x_dst, edge_index, edge_attr, adj;
  Tensor lin, lin_src, lin_dst, att_src, att_dst, bias, lin_edge, att_edge, w, a, out, weights, loops;
  std::vector<std::int64_t> in_channels;
  std::optional<std::int64_t> out_channels, edge_dim, in_features, out_features;
  std::int64_t heads = 1;
  double negative_slope = 0.2, alpha = 0.2;
  bool concat = true, add_self_loops = true, bipartite = false, dense_adjacency = false;

  void describe(Declaration& d) override {
    const bool sparse = !dense_adjacency, two = sparse && bipartite, edges = sparse && edge_dim;
    d.param("in_channels", in_channels, "C; of sources and targets where they differ").computed("from the weights");
    d.param("out_channels", out_channels, "O, a head").least(1).computed("from the weights");
    d.param("heads", heads, "H").least(1);
    d.param("concat", concat, "heads are joined; else averaged (dense_adjacency: ELU at the end)");
    d.param("negative_slope", negative_slope, "of the leaky ReLU");
    d.param("add_self_loops", add_self_loops, "loops are removed and one a node appended");
    d.param("edge_dim", edge_dim, "De; given, edges have features").least(1).computed("none");
    d.param("bipartite", bipartite, "sources and targets are two sets of nodes");
    d.param("dense_adjacency", dense_adjacency, "one head over a matrix of neighbours");
    d.param("in_features", in_features, "C of dense_adjacency").least(1).computed("from the weights");
    d.param("out_features", out_features, "O of dense_adjacency").least(1).computed("from the weights");
    d.param("alpha", alpha, "slope of the leaky ReLU of dense_adjacency");
    const std::string C = !sparse && in_features           ? "in_features"
                          : sparse && !in_channels.empty() ? std::to_string(in_channels.front())
                                                           : "C";
    const std::string O = sparse && out_channels ? "out_channels" : !sparse && out_features ? "out_features" : "O", HO = "heads*" + O;
    const std::string Cd = in_channels.empty() ? "Cd" : std::to_string(in_channels.back());
    d.input("x", x, "N " + C, "nodes").when(!two, "not bipartite");
    d.input("x_src", x_src, "S " + C, "source nodes").when(two, "bipartite");
    d.input("x_dst", x_dst, "N " + Cd, "target nodes").when(two, "bipartite");
    d.input("edge_index", edge_index, "2 E", "source and target of each edge")
        .of(DType::i64)
        .between("0", two ? "min(S,N)-1" : "N-1")
        .when(sparse, "not dense_adjacency");
    d.input("edge_attr", edge_attr, "E edge_dim", "features of the edges").when(edges, "edge_dim");
    d.input("adj", adj, "N N", "above 0 where node i attends to node j").between("-1", "1").no_gradient().when(!sparse, "dense_adjacency");
    d.weight("lin.weight", lin, HO + " " + C).when(sparse && !two, "not bipartite");
    d.weight("lin_src.weight", lin_src, HO + " " + C).when(two, "bipartite");
    d.weight("lin_dst.weight", lin_dst, HO + " " + Cd).when(two, "bipartite");
    d.weight("att_src", att_src, "1 heads " + O).when(sparse, "not dense_adjacency");
    d.weight("att_dst", att_dst, "1 heads " + O).when(sparse, "not dense_adjacency");
    d.weight("bias", bias, concat ? HO : O).optional().sample().when(sparse, "not dense_adjacency");
    d.weight("lin_edge.weight", lin_edge, HO + " edge_dim").when(edges, "edge_dim");
    d.weight("att_edge", att_edge, "1 heads " + O).when(edges, "edge_dim");
    d.weight("W", w, C + " " + O).when(!sparse, "dense_adjacency");
    d.weight("a", a, "2*" + O + " 1").when(!sparse, "dense_adjacency");
    d.size("Cd", "C");
    d.size("E", "8*N");
    d.size("O", "D");
    d.output("out", out, "N " + (sparse && concat ? HO : O));
    d.output("weights", weights, sparse ? "edges heads" : "N N");
    d.output("edge_index_with_loops", loops, "2 edges", "the edges in the order of the weights")
        .of(DType::i64)
        .when(sparse, "not dense_adjacency");
  }

  void run(Ops& ops) override {
    if (dense_adjacency) return dense(ops);
    const Tensor& from = bipartite ? x_src : x;
    const Tensor h = node_heads(ops.linear(from, bipartite ? lin_src : lin), heads);
    const Graph graph = graph_of(edge_index, from.extent(0), bipartite ? x_dst.extent(0) : from.extent(0), add_self_loops);
    ListTensors t;
    t.v = h;
    t.source = ops.linear(from, per_head(ops, bipartite ? lin_src : lin, att_src));
    t.target = ops.linear(bipartite ? x_dst : x, per_head(ops, bipartite ? lin_dst : lin, att_dst));
    if (edge_dim) t.bias = ops.linear(edge_features(ops, graph, edge_attr), per_head(ops, lin_edge, att_edge));
    ListOptions o;
    o.score = ListScore::additive;
    o.negative_slope = float(negative_slope);
    const Attended got = ops.attend_lists(t, graph.lists(), o, wants(weights) ? unsigned(want_weights) : 0u);
    out = combine_heads(ops, got.out, concat);
    if (bias.defined()) out = ops.add(out, bias);
    weights = got.weights;
    loops = graph.edges;
  }

  /// a . W x of each head as one matrix, (H, C).
  static Tensor per_head(const Ops& ops, const Tensor& w, const Tensor& att) {
    const auto H = att.extent(1), O = att.extent(2);
    return ops.sum(ops.mul(w.reshape({H, O, w.extent(1)}), att.reshape({H, O, 1})), {1});
  }

  /// A node without neighbours attends to all alike, as in the authors' code.
  void dense(const Ops& ops) {
    const auto N = x.extent(0), O = w.extent(1);
    const Tensor h = ops.matmul(x, w), left = ops.matmul(h, a.slice(0, 0, O)), right = ops.matmul(h, a.slice(0, O, O)).reshape({1, N});
    const Tensor score = ops.leaky_relu(ops.add(left, right), float(alpha));
    weights = ops.softmax(ops.where(ops.less(ops.full({}, 0), adj), score, ops.full({}, -9e15f)), 1);
    out = ops.matmul(weights, h);
    if (concat) out = ops.elu(out);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(gat, Gat, "gat", "graph", "module", 1, "Graph Attention Networks")
