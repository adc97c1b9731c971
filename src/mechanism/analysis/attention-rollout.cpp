// SPDX-License-Identifier: Apache-2.0
// Attention rollout and flow (Abnar & Zuidema, 2020). With M_l = rows of (mean over heads + I) normalised:
//   rollout_l = M_l rollout_{l-1};   flow_l(i, j) = the maximum flow from token i of layer l down to input j through capacities M.
#include <algorithm>
#include <deque>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

/// Maximum flow by shortest augmenting paths (Edmonds and Karp) over nodes (layer, token).
class Graph {
 public:
  Graph(const std::vector<Tensor>& capacities, std::int64_t tokens)
      : nodes_((std::int64_t(capacities.size()) + 1) * tokens), edges_(std::size_t(nodes_)) {
    for (std::int64_t l = 0; l < std::int64_t(capacities.size()); ++l)
      for (std::int64_t i = 0; i < tokens; ++i)
        for (std::int64_t j = 0; j < tokens; ++j)
          if (const double c = capacities[std::size_t(l)].data<float>()[i * tokens + j]; c > 0)
            add((l + 1) * tokens + i, l * tokens + j, c);
  }

  double flow(std::int64_t source, std::int64_t sink) {
    for (Edge& edge : all_) edge.left = edge.capacity;
    double total = 0;
    for (;;) {
      std::vector<std::int64_t> by(std::size_t(nodes_), -1);
      std::deque<std::int64_t> open{source};
      while (!open.empty() && by[std::size_t(sink)] < 0) {
        const std::int64_t at = open.front();
        open.pop_front();
        for (const std::int64_t e : edges_[std::size_t(at)]) {
          const std::int64_t to = all_[std::size_t(e)].to;
          if (all_[std::size_t(e)].left <= 0 || to == source || by[std::size_t(to)] >= 0) continue;
          by[std::size_t(to)] = e;
          open.push_back(to);
        }
      }
      if (by[std::size_t(sink)] < 0) return total;
      double room = 1e300;
      const auto along = [&](auto&& visit) {
        for (std::int64_t at = sink; at != source; at = all_[std::size_t(by[std::size_t(at)] ^ 1)].to) visit(by[std::size_t(at)]);
      };
      along([&](std::int64_t e) { room = std::min(room, all_[std::size_t(e)].left); });
      along([&](std::int64_t e) { all_[std::size_t(e)].left -= room, all_[std::size_t(e ^ 1)].left += room; });
      total += room;
    }
  }

 private:
  struct Edge {
    std::int64_t to;
    double capacity, left;
  };
  void add(std::int64_t from, std::int64_t to, double capacity) {
    edges_[std::size_t(from)].push_back(std::int64_t(all_.size()));
    all_.push_back({to, capacity, capacity});
    edges_[std::size_t(to)].push_back(std::int64_t(all_.size()));
    all_.push_back({from, 0, 0});
  }
  std::int64_t nodes_;
  std::vector<std::vector<std::int64_t>> edges_;
  std::vector<Edge> all_;
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
        for (std::int64_t j = 0; j < N; ++j) flow_values.data<float>()[(l * N + i) * N + j] = float(graph.flow((l + 1) * N + i, j));
    flow = ops.div(flow_values, ops.sum(flow_values, {2}, true));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(attention_rollout, Rollout, "attention-rollout", "analysis", "analysis", 1, "Quantifying Attention Flow in Transformers")
