// SPDX-License-Identifier: Apache-2.0
// Attention rollout and flow (Abnar & Zuidema, 2020). With M_l = rows of (mean over heads + I) normalised:
//   rollout_l = M_l rollout_{l-1};   flow_l(i, j) = the maximum flow from token i of layer l down to input j through capacities M.
#include <algorithm>
#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

/// Maximum flow over nodes (layer, token) by Dinic's algorithm: among the shortest paths with room left, until none is left.
class Graph {
 public:
  Graph(const std::vector<Tensor>& capacities, std::int64_t tokens) : edges_((capacities.size() + 1) * std::size_t(tokens)) {
    for (std::int64_t l = 0; l < std::int64_t(capacities.size()); ++l)
      for (std::int64_t i = 0; i < tokens; ++i)
        for (std::int64_t j = 0; j < tokens; ++j)
          if (const double c = capacities[std::size_t(l)].data<float>()[i * tokens + j]; c > 0)
            add(std::size_t((l + 1) * tokens + i), std::size_t(l * tokens + j), c);
  }

  double flow(std::size_t source, std::size_t sink) {
    for (Edge& edge : all_) edge.left = edge.capacity;
    double total = 0;
    while (reaches(source, sink)) {
      next_.assign(edges_.size(), 0);
      for (std::vector<std::size_t> path; find(source, sink, path); path.clear()) {
        double room = std::numeric_limits<double>::infinity();
        for (const auto e : path) room = std::min(room, all_[e].left);
        total += room;
        if (std::isinf(total)) return total;
        for (const auto e : path) all_[e].left -= room, all_[e ^ 1].left += room;  // 0 for the narrowest one
      }
    }
    return total;
  }

 private:
  struct Edge {
    std::size_t to;
    double capacity, left;
  };
  void add(std::size_t from, std::size_t to, double capacity) {
    edges_[from].push_back(all_.size());
    all_.push_back({to, capacity, capacity});
    edges_[to].push_back(all_.size());
    all_.push_back({from, 0, 0});
  }
  /// Numbers the nodes by their distance from the source; whether the sink is among them.
  bool reaches(std::size_t source, std::size_t sink) {
    distance_.assign(edges_.size(), -1);
    distance_[source] = 0;
    std::vector<std::size_t> open{source};
    for (std::size_t n = 0; n < open.size() && distance_[sink] < 0; ++n)
      for (const auto e : edges_[open[n]])
        if (const auto to = all_[e].to; all_[e].left > 0 && distance_[to] < 0) distance_[to] = distance_[open[n]] + 1, open.push_back(to);
    return distance_[sink] >= 0;
  }
  /// The edges of a shortest path with room left; what led nowhere is not tried again.
  bool find(std::size_t source, std::size_t sink, std::vector<std::size_t>& path) {
    for (std::size_t at = source; at != sink;) {
      const auto& edges = edges_[at];
      auto& n = next_[at];
      while (n < edges.size() && !(all_[edges[n]].left > 0 && distance_[all_[edges[n]].to] == distance_[at] + 1)) ++n;
      if (n < edges.size()) {
        path.push_back(edges[n]);
        at = all_[edges[n]].to;
      } else if (at == source) {
        return false;
      } else {
        at = all_[path.back() ^ 1].to;
        path.pop_back();
        ++next_[at];
      }
    }
    return true;
  }

  std::vector<std::vector<std::size_t>> edges_;  ///< of each node; e ^ 1 is edge e turned round
  std::vector<Edge> all_;
  std::vector<std::int64_t> distance_;
  std::vector<std::size_t> next_;  ///< edge of each node to try next
};

struct Rollout : Mechanism {
  Tensor attentions, out, flow, flow_values;
  std::optional<std::int64_t> layers, heads;
  bool causal = false;

  void describe(Declaration& d) override {
    d.param("layers", layers, "layers").computed("L");
    d.param("heads", heads, "heads").computed("H");
    d.param("causal", causal, "whether the weights are lower triangular");
    d.input("attentions", attentions, "layers 1 heads N N", "weights, rows are queries, the lowest layer first").between("0", "1");
    d.size("layers", "12");
    d.size("N", "256");
    d.output("out", out, "layers N N", "rollout after each layer");
    d.output("flow", flow, "layers N N", "flow_values, rows divided by their sums").of(DType::f32).no_gradient();
    d.output("flow_values", flow_values, "layers N N", "maximum flow from (layer, row) to an input").no_gradient();
  }

  void run(Ops& ops) override {
    const auto L = attentions.extent(0), N = attentions.extent(3);
    const Tensor mean = ops.mean(attentions, {1, 2}), own = ops.one_hot(ops.arange(0, N), N);
    const Tensor raw = ops.add(mean, own), all = ops.div(raw, ops.sum(raw, {2}, true));
    std::vector<Tensor> maps, capacities;
    for (std::int64_t l = 0; l < L; ++l) {
      const Tensor map = all.slice(0, l, 1).reshape({N, N});
      maps.push_back(l == 0 ? map : ops.matmul(map, maps.back()));
      capacities.push_back(ops.no_gradient(map, "capacities of edges"));
    }
    out = ops.stack(maps, 0);
    if (!wants(flow) && !wants(flow_values)) return;
    Graph graph(capacities, N);
    flow_values = Tensor(DType::f32, {L, N, N});
    for (std::int64_t l = 0; l < L; ++l)
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t j = 0; j < N; ++j)
          flow_values.data<float>()[(l * N + i) * N + j] = float(graph.flow(std::size_t((l + 1) * N + i), std::size_t(j)));
    flow = ops.div(flow_values, ops.sum(flow_values, {2}, true));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(attention_rollout, Rollout, "attention-rollout", "analysis", "analysis", 1, "Quantifying Attention Flow in Transformers")
