// SPDX-License-Identifier: Apache-2.0
// A block of query rows that read one key head: its queries, scores and online state. One a worker.
#pragma once
#include "engine/tiles.h"

namespace heed::engine {

struct Row {
  std::int64_t h, i;     ///< query head and query
  std::int64_t p;        ///< where the query stands among the keys
  std::int64_t lo, hi;   ///< keys it may see by lengths, causality and window; lo == hi: none
};

class Rows {
 public:
  explicit Rows(const Call& call);

  /// Forgets everything and begins a block of a sequence.
  void begin(std::int64_t b);
  void add(std::int64_t h, std::int64_t i);
  /// Reads the queries, scaled, and clears the sums.
  void load();

  /// The tiles of keys that some row may see: [first, last).
  std::int64_t first_tile() const;
  std::int64_t last_tile() const;
  /// Whether a block mask, if any, lets some row look into the tile.
  bool kept(std::int64_t tile) const;

  /// Scores, weights and values of one tile, added to the sums.
  void visit(std::int64_t tile, const float* k, const float* v, bool finite);
  /// The sink enters, rows are normalised and written; totals (where given) get what weights() needs.
  void finish(float* totals);
  /// Final weights of a tile, for the rows' visible cells; the others are 0. `totals` as finish() left them.
  void weights(std::int64_t tile, const float* k, const float* totals);

  int size() const { return size_; }
  const Row& row(int r) const { return row_[r]; }
  float* out() const { return out_.get(); }
  float* max() { return max_; }
  float* sum() { return sum_; }
  std::int64_t width() const { return width_; }
  /// Weights of a row and the columns of the tile, [first, last), that hold any.
  const float* weights_of(int r) const { return scores_.get() + r * score_stride; }
  int first_of(int r) const { return first_[r / kernel::group]; }
  int last_of(int r) const { return last_[r / kernel::group]; }
  float* scratch() const { return scratch_.get(); }

 private:
  bool scores(std::int64_t tile, const float* k);
  void steps(int r, std::int64_t begin, int from, int to);
  void weigh(int r, float* x, std::int64_t n);
  void multiply(const float* v, bool finite);

  const Call& call_;
  std::int64_t b_ = 0, width_;
  int size_ = 0;
  Row row_[tile_rows];
  float max_[tile_rows], sum_[tile_rows];
  int first_[tile_groups], last_[tile_groups];
  Buffer queries_, scores_, out_, scratch_;
};

}  // namespace heed::engine
