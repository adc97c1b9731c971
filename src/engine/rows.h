// SPDX-License-Identifier: Apache-2.0
// A block of query rows that read one key head: its queries, scores and online state. One a worker.
#pragma once
#include "engine/tiles.h"

namespace heed::engine {

inline constexpr int lanes = kernel::panel;  ///< of a row's maxima and sums
inline int up(std::int64_t n, int unit) { return int((n + unit - 1) / unit * unit); }

struct Row {
  std::int64_t h, i;    ///< query head and query
  std::int64_t p;       ///< where the query stands among the keys
  std::int64_t head;    ///< keys [0, head) are seen too, head < lo; 0: none
  std::int64_t lo, hi;  ///< keys it may see by lengths, causality and window; lo == hi: none
};

/// Columns of a tile that a row may see: [0, head) and [from, to), head < from. holes: blocks inside are left out.
struct Columns {
  int head, from, to;
  bool holes = false;
  int first() const { return head > 0 ? 0 : from; }
};

class Rows {
 public:
  explicit Rows(const Call& call);

  /// Forgets everything and begins a block of a sequence, whose keys are all, or `count` of a rising list: columns then count
  /// the listed ones.
  void begin(std::int64_t b, const std::int64_t* listed = nullptr, std::int64_t count = 0);
  void add(std::int64_t h, std::int64_t i);
  /// Begins with all rows that read a key head of (B, G), loaded.
  void load_head(std::int64_t head);
  /// Reads the queries.
  void read();
  /// The same, and clears the sums.
  void load();

  /// The tiles of keys that some row may see lie in [0, last_tile()).
  std::int64_t last_tile() const { return (hi_ + call_.keys - 1) / call_.keys; }
  bool sees(std::int64_t tile) const;

  /// Scores, weights and values of one tile, added to the sums; k and v as pack_tile() left them.
  void visit(std::int64_t tile, const float* k, const float* v, bool finite);
  /// The same in steps, keys and values being read where they lie (direct.cpp). Between open(), which is false where there is nothing to
  /// see, and close() come score() of every key in [from(), to()), weigh_direct() and value() of every one of these.
  bool open(std::int64_t tile);
  int from() const { return from_; }
  int to() const { return to_; }
  void score(int from, int to, kernel::Ahead next);
  void weigh_direct();
  void value(int from, int to, kernel::Ahead next);
  void close();
  /// The sink enters, rows are normalised and written; totals (where given) get what weights() needs.
  void finish(float* totals);
  /// Final weights of a tile in the columns that hold any. `totals` as finish() left them: a reference and a factor a row.
  /// False: none.
  bool weights(std::int64_t tile, const float* k, const float* totals);
  /// For the same columns: to[r] = the row r of `a` times packed panels of `depth` words.
  void product(const float* a, std::int64_t lda, const float* panels, std::int64_t depth, float* to);
  /// to[r] = the scores after the softcap, before anything is added.
  void capped(const float* k, float* to);
  const int* first() const { return first_; }
  const int* last() const { return last_; }
  const float* queries() const { return queries_.get(); }
  std::int64_t query_stride() const { return depth_; }

  int size() const { return size_; }
  const Row& row(int r) const { return row_[r]; }
  std::int64_t width() const { return width_; }
  /// The state of all rows in one piece of memory, part_floats() long; merge() adds one, of other keys.
  std::int64_t part_floats() const { return size_ * (width_ + 3); }
  void save(float* part) const;
  void merge(const float* part);
  /// Weights of a row and the columns of the tile, [first, last), that hold any.
  float* weights_of(int r) const { return scores_.get() + r * score_stride; }
  int first_of(int r) const { return first_[r / call_.products->group]; }
  int last_of(int r) const { return last_[r / call_.products->group]; }
  float* scratch() const { return scratch_.get(); }

 private:
  const char* place(const View& view, std::int64_t key) const;
  bool ranges(std::int64_t tile);
  Columns span(const Row& row, std::int64_t tile) const;
  bool scores(std::int64_t tile, const float* k);
  void mask_scores(std::int64_t tile);
  void steps(int r, std::int64_t begin, int from, int to);
  void fill_holes(int r, std::int64_t begin, int from, int to);
  void weigh();
  void repair(std::int64_t tile, std::int64_t g);
  float weight_at(int r, int column) const;
  float sum_of(int r) const;
  float max_of(int r) const;

  const Call& call_;
  const std::int64_t* listed_ = nullptr;
  std::int64_t listed_count_ = 0;
  std::int64_t b_ = 0, width_, depth_, capacity_;
  std::int64_t lo_ = 0, hi_ = 0, head_ = 0;  ///< of all rows: the least, the largest
  std::int64_t all_lo_ = 0, all_hi_ = 0;     ///< keys [all_lo, all_hi) are seen by every row
  bool whole_ = false;                       ///< what ranges() wrote says that all rows see all of a tile
  int size_ = 0;
  Row row_[tile_rows];
  Columns span_[tile_rows];
  float reference_[tile_rows];
  int first_[tile_groups], last_[tile_groups], end_[tile_groups];  ///< of a group: columns with weights; end: the last one any row sees
  bool even_[tile_groups];                                         ///< all rows see all columns of the range
  std::int64_t tile_ = 0;                                          ///< that is open
  int from_ = 0, to_ = 0;                                          ///< columns of it that some row sees
  /// A part of memory_, on a cache line's boundary.
  struct Piece {
    std::int64_t count;
    float* data = nullptr;
    float* get() const { return data; }
  };
  Piece queries_, scores_, out_, scratch_;
  Piece before_;                 ///< out before the open tile
  Piece max_, tile_max_, sums_;  ///< `lanes` a row; maxima of scores before `factor`
  Buffer memory_;
};

}  // namespace heed::engine
