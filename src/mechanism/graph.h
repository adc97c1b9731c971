// SPDX-License-Identifier: Apache-2.0
// Edges of a graph, edge_index (2, E): sources in row 0, targets in row 1; and what attention over them shares.
#pragma once
#include "heed/lists.h"
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

struct Graph {
  Tensor edges;  ///< (2, E'): the edges kept, then a loop for each of the first `loops` nodes
  Tensor kept;   ///< (E' - loops): their columns in edge_index
  std::int64_t loops = 0;
  std::int64_t sources, targets;

  /// Row 0 or 1 of the edges.
  Tensor row(int which) const { return edges.slice(0, which, 1).reshape({edges.extent(1)}); }
  Lists lists() const { return lists_of_edges(edges, targets); }
};

inline void check_edges(const char* name, const Tensor& edge_index, std::int64_t sources, std::int64_t targets) {
  for (std::int64_t e = 0; e < edge_index.extent(1); ++e)
    for (std::int64_t r = 0; r < 2; ++r) {
      const auto node = edge_index.data<std::int64_t>()[r * edge_index.stride(0) + e * edge_index.stride(1)],
                 nodes = r == 0 ? sources : targets;
      if (node < 0 || node >= nodes)
        fail(std::string("input ") + name, (r == 0 ? "sources 0 to " : "targets 0 to ") + std::to_string(nodes - 1),
             std::to_string(node) + " at edge " + std::to_string(e));
    }
}

/// With `loops`, the loops among the edges are removed and one a node is appended.
inline Graph graph_of(const Tensor& edge_index, std::int64_t sources, std::int64_t targets, bool loops) {
  check_edges("edge_index", edge_index, sources, targets);
  const Tensor from = edge_index.dense();
  const std::int64_t edges = from.extent(1), added = loops ? std::min(sources, targets) : 0;
  const auto *source = from.data<std::int64_t>(), *target = source + edges;
  std::vector<std::int64_t> kept;
  for (std::int64_t e = 0; e < edges; ++e)
    if (!loops || source[e] != target[e]) kept.push_back(e);
  const std::int64_t count = std::int64_t(kept.size());
  Graph graph{Tensor(DType::i64, {2, count + added}), Tensor(DType::i64, {count}), added, sources, targets};
  auto* to = graph.edges.data<std::int64_t>();
  for (std::int64_t e = 0; e < count + added; ++e) {
    to[e] = e < count ? source[kept[std::size_t(e)]] : e - count;
    to[count + added + e] = e < count ? target[kept[std::size_t(e)]] : e - count;
  }
  std::copy(kept.begin(), kept.end(), graph.kept.data<std::int64_t>());
  return graph;
}

/// Features of the graph's edges out of those of edge_index; a loop has the mean of the edges that point to its node.
inline Tensor edge_features(const Ops& ops, const Graph& graph, const Tensor& given) {
  const Tensor kept = ops.index_select(given, 0, graph.kept);
  if (graph.loops == 0) return kept;
  const Tensor targets = graph.row(1).slice(0, 0, kept.extent(0));
  return ops.concat({kept, ops.segment_mean(kept, targets, graph.targets).slice(0, 0, graph.loops)}, 0);
}

/// (N, H*O) as (N, H, O).
inline Tensor node_heads(const Tensor& x, std::int64_t heads) { return x.reshape({x.extent(0), heads, x.extent(1) / heads}); }

/// (N, H, O), its heads joined or averaged.
inline Tensor combine_heads(const Ops& ops, const Tensor& x, bool concat) {
  return concat ? x.reshape({x.extent(0), x.extent(1) * x.extent(2)}) : ops.mean(x, {1});
}

}  // namespace heed::mechanism
