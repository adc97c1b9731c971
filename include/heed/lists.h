// SPDX-License-Identifier: Apache-2.0
// Attention in which every query has its own list of keys: graph edges, chosen keys, samples. Conventions: docs/conventions.md.
#pragma once
#include <cstdint>
#include <optional>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// Lists of keys in CSR form. List i of head h is index[offsets[h, i] .. offsets[h, i+1]); keys in any order, repeats count each time.
struct Lists {
  Tensor offsets;          ///< i64 (N+1), the same lists for every head, or (H, N+1): from 0, without gaps, to the entries of index
  Tensor index;            ///< i64 (entries), keys in [0, M)
  Tensor edge;             ///< i64 (entries): the row of the per-edge tensors that belongs to an entry, no row twice; absent: its position
  std::int64_t rows = -1;  ///< rows of the per-edge tensors; -1: as many as entries
};

/// Edges j -> i, edge_index i64 (2, E) with the sources j in row 0 and the targets i in row 1, as the lists of the N targets.
/// A list keeps the order of its edges; `edge` tells their columns.
Lists lists_of_edges(const View& edge_index, std::int64_t targets);
/// Chosen keys of each query, i64 (B, N, K) or (B, H, N, K), -1 for none, of B sequences of M keys: the lists of B*N queries over
/// B*M keys; per-edge tensors have a row for each place of the table.
Lists lists_of_table(const View& index, std::int64_t keys);
/// The lists of the keys: who looks at key j, in the order of the queries; `edge` tells the rows of the per-edge tensors.
Lists transpose(const Lists& lists, std::int64_t keys);

/// How a query i and a key j, joined by the edge e, are compared, a head at a time.
enum class ListScore : std::uint8_t {
  dot,       ///< scale q_i . (k_j + features_e) + bias_e
  additive,  ///< leaky(source_j + target_i + bias_e): GAT (Velickovic et al., 2018)
  leaky,     ///< att . leaky(q_i + k_j + features_e) + bias_e: GATv2 (Brody et al., 2022)
  edge,      ///< bias_e
};

/// Only what the score reads is given. L: 1 where each head has lists of its own, else H.
struct ListInputs {
  std::optional<View> q;         ///< (N, H, D)
  std::optional<View> k;         ///< (M, G, D), H % G == 0, query head h reads h / (H / G)
  std::optional<View> v;         ///< (M, G, W); absent: no out
  std::optional<View> source;    ///< f32 (M, H)
  std::optional<View> target;    ///< f32 (N, H)
  std::optional<View> att;       ///< f32 (H, D)
  std::optional<View> bias;      ///< f32 (rows, L)
  std::optional<View> features;  ///< f32 (rows, L, D)
};

struct ListOptions {
  ListScore score = ListScore::dot;
  bool softmax = true;          ///< over the list; false: the scores are the weights
  std::optional<float> scale;   ///< of dot: 1/sqrt(D)
  float negative_slope = 0.2f;  ///< of the leaky ReLU
};

/// Computed only where given. An empty list gives out = 0 and lse = -inf; so does one whose scores are all -inf.
struct ListOutputs {
  std::optional<View> out;      ///< (N, H, W), of v's dtype or f32
  std::optional<View> lse;      ///< f32 (N, H), natural; with softmax
  std::optional<View> weights;  ///< f32 (rows, L); 0 in rows of no list
};

/// q, k, v of one dtype among f32, bf16, f16; sums are f32 in the order of the lists: the same bits for any number of threads.
/// Throws heed::Error naming the argument, for an index out of range too, before memory is touched.
void attend_lists(const ListInputs& inputs, const Lists& lists, const ListOutputs& outputs, const ListOptions& options = {},
                  const Context& context = {});

/// Gradients of sum(out . d_out) + sum(lse . d_lse) + sum(weights . d_weights), written where `gradients` has a view (f32, bf16 or
/// f16, shaped as the input; edge rows of no list get 0). Scores are computed again; nothing of the forward is kept.
/// `transposed` saves making transpose(lists, M).
void attend_lists_backward(const ListInputs& inputs, const Lists& lists, const ListOutputs& cotangents, const ListInputs& gradients,
                           const ListOptions& options = {}, const Context& context = {}, const Lists* transposed = nullptr);

}  // namespace v0
}  // namespace heed
