// SPDX-License-Identifier: Apache-2.0
// The engine of attend_lists(): a call, checked, with rows whose elements are consecutive.
#pragma once
#include <algorithm>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "engine/tiles.h"
#include "heed/lists.h"
#include "kernel/lists.h"

namespace heed::engine {

/// A table of rows (n, heads, width), or (n, heads) with a width of 1: strides of the first two axes in elements.
struct Table3 {
  Tensor kept;  ///< a dense copy, where the elements of a row were not consecutive
  const char* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t n = 0, heads = 0, width = 0, row = 0, head = 0;

  explicit operator bool() const { return data != nullptr; }
  const void* at(std::int64_t i, std::int64_t h) const { return data + (i * row + h * head) * std::int64_t(size_of(dtype)); }
  const float* floats(std::int64_t i, std::int64_t h) const { return static_cast<const float*>(at(i, h)); }
};

/// Lists, checked: dense indices.
struct Csr {
  Tensor kept_offsets, kept_index, kept_edge;
  const std::int64_t *offsets = nullptr, *index = nullptr, *edge = nullptr;
  std::int64_t heads = 1, lists = 0, entries = 0, rows = 0;  ///< heads: 1 or H; lists: of a head; rows: of the per-edge tensors

  struct Span {
    std::int64_t begin, size;
  };
  Span of(std::int64_t h, std::int64_t i) const {
    const std::int64_t* at = offsets + (heads == 1 ? 0 : h * (lists + 1)) + i;
    return {at[0], at[1] - at[0]};
  }
  std::int64_t longest() const;
  /// Row of the per-edge tensors.
  std::int64_t edge_of(std::int64_t position) const { return edge ? edge[position] : position; }
  /// Rows of a table by key, and rows of a per-edge table, for a list.
  kernel::Picked keys(const Table3& table, std::int64_t h, Span span) const {
    return {table.at(0, h), table.row, index + span.begin, span.size};
  }
  kernel::Picked edges(const Table3& table, std::int64_t h, Span span) const {
    if (!table) return {};
    if (edge) return {table.at(0, h), table.row, edge + span.begin, span.size};
    return {table.at(span.begin, h), table.row, nullptr, span.size};
  }
};

/// Every index in [0, keys); keys < 0: not looked at.
Csr check_lists(const Lists& lists, std::int64_t keys);

/// Asks for rows a little before they are read: those of a graph lie anywhere in memory.
void prefetch(const Table3& table, const std::int64_t* index, std::int64_t n);

struct ListCall {
  Table3 q, k, v, source, target, att, bias, features;
  Csr lists;
  ListOptions options;
  Context context;
  const kernel::ListTable* loops = nullptr;
  std::int64_t N = 0, M = 0, H = 0, G = 1, D = 0, W = 0;
  float scale = 1;

  std::int64_t columns() const { return lists.heads == 1 ? H : 1; }  ///< L of the per-edge tensors
  std::int64_t column(std::int64_t h) const { return lists.heads == 1 ? h : 0; }
  std::int64_t group(std::int64_t h) const { return h * G / H; }
  /// The keys of list i, where every head reads them.
  void prefetch_keys(std::int64_t i) const {
    if (i >= N || lists.heads != 1) return;
    const Csr::Span span = lists.of(0, i);
    for (const Table3* table : {&source, &k, &v}) prefetch(*table, lists.index + span.begin, span.size);
  }
};

ListCall check_lists(const ListInputs& inputs, const Lists& lists, const ListOptions& options, const Context& context);
/// Throws unless the view has this shape, one of the dtypes and memory; `written`: elements of their own.
void want_view(const char* name, const View& view, const Shape& shape, bool floats_only, bool written);
Table3 rows_of(const View& view);

/// A worker's numbers: a list's scores (twice), and rows.
struct ListScratch {
  ListScratch(std::int64_t longest, std::int64_t width)
      : scores(longest + kernel::list_slack),
        raw(longest + kernel::list_slack),
        factors(longest + kernel::list_slack),
        row(width),
        query(width) {}
  Buffer scores, raw, factors, row, query;
};

/// Row (i, h) of a table as f32: itself, or in the scratch.
const float* floats_of(const ListCall& c, const Table3& table, std::int64_t i, std::int64_t h, const Buffer& scratch);
/// Zeros in a view of two or three axes.
void clear(const View& view);
/// Scores of list (h, i): the raw ones of `additive`, before the leaky ReLU, go to scratch.raw as well.
void list_scores(const ListCall& c, std::int64_t h, std::int64_t i, ListScratch& scratch);

/// Runs task(first, last, worker) over ranges of lists that hold about the same number of entries; the ranges depend on the lists alone.
class Ranges {
 public:
  explicit Ranges(const Csr& lists);
  std::int64_t count() const { return std::int64_t(cuts_.size()) - 1; }
  template <class F>
  void run(int threads, F&& body) const {
    base::parallel(threads, count(),
                   [&](std::int64_t t, int worker) { body(t, cuts_[std::size_t(t)], cuts_[std::size_t(t + 1)], worker); });
  }

 private:
  std::vector<std::int64_t> cuts_;
};

}  // namespace heed::engine
