// SPDX-License-Identifier: Apache-2.0
// What a block of rows does with one tile of keys: scores, the steps and masks between them and the weights, values.
#include <cmath>

#include "engine/rows.h"

namespace heed::engine {

/// Softcap, bias, ALiBi, masks of the row's cells [from, to) of the tile.
void Rows::steps(int r, std::int64_t begin, int from, int to) {
  const AttendOptions& o = call_.options;
  const kernel::Table& table = *call_.table;
  const Row& row = row_[r];
  float* x = scores_.get() + r * score_stride;
  const std::int64_t n = to - from, first = begin + from;
  table.scale(x + from, n, call_.scale);
  if (o.softcap > 0) table.softcap(x + from, n, o.softcap);
  if (o.bias) {
    const float* bias = call_.bias.at<float>(b_, row.h, row.i, first);
    const std::int64_t m = call_.bias.m;
    if (m == 1) {
      table.add(x + from, bias, n);
    } else {
      for (std::int64_t c = 0; c < n; ++c) x[from + c] += bias[c * m];
    }
  }
  if (o.alibi_slopes) {
    const float slope = static_cast<const float*>(o.alibi_slopes->data)[row.h * o.alibi_slopes->strides[0]];
    table.alibi(x + from, n, slope, float(row.p - first));
  }
  if (o.mask) {
    const std::uint8_t* mask = call_.mask.at<std::uint8_t>(b_, row.h, row.i, first);
    const std::int64_t m = call_.mask.m;
    if (m == 1) {
      table.mask(x + from, mask, n);
    } else {
      for (std::int64_t c = 0; c < n; ++c)
        if (!mask[c * m]) x[from + c] = -infinity;
    }
  }
  if (o.dilation > 1)
    for (std::int64_t c = 0; c < n; ++c)
      if ((row.p - first - c) % o.dilation != 0) x[from + c] = -infinity;
}

void Rows::fill_holes(int r, std::int64_t begin, int from, int to) {
  const BlockMask& blocks = *call_.options.blocks;
  float* x = scores_.get() + r * score_stride;
  for (std::int64_t c = from; c < to;) {
    const std::int64_t block = (begin + c) / blocks.key_block, end = std::min<std::int64_t>((block + 1) * blocks.key_block - begin, to);
    if (!*call_.keep.at<bool>(b_, row_[r].h, row_[r].i / blocks.query_block, block)) std::fill(x + c, x + end, -infinity);
    c = end;
  }
}

/// Steps, and -inf where a row may not look; maxima of the rows where the product's own do not hold.
void Rows::mask_scores(std::int64_t tile) {
  const int group = call_.products->group;
  for (int r = 0; r < size_; ++r) {
    const int g = r / group, first = first_[g], last = last_[g];
    if (first == last || even_[g]) continue;
    float* x = scores_.get() + r * score_stride;
    const Columns s = span_[r];
    const int from = std::clamp(s.first(), first, last), to = std::clamp(s.to, from, last);
    if (!call_.plain && from < to) steps(r, tile * call_.keys, from, to);
    if (s.holes && from < to) fill_holes(r, tile * call_.keys, from, to);
    std::fill(x + first, x + from, -infinity);
    std::fill(x + to, x + last, -infinity);
    if (s.head > 0) std::fill(x + s.head, x + s.from, -infinity);
    call_.table->max_lanes(x + first, last - first, tile_max_.get() + r * lanes);
  }
}

/// Scores of a tile, -inf where a row may not look. False: nothing to see here.
bool Rows::scores(std::int64_t tile, const float* k) {
  if (!ranges(tile)) return false;
  call_.products->score(queries_.get(), depth_, k, call_.depth(), scores_.get(), score_stride, size_, first_, last_, tile_max_.get());
  mask_scores(tile);
  return true;
}

/// Online softmax: sums so far are of 2^(s - reference), which rises in steps. Others: the weights themselves.
void Rows::weigh() {
  const kernel::Table& table = *call_.table;
  const kernel::Products& products = *call_.products;
  for (int r = 0; r < size_; ++r) {
    const int first = first_of(r), n = last_of(r) - first;
    if (n == 0) continue;
    float *row = scores_.get() + r * score_stride, *x = row + first, *to = row + first / products.pair;
    if (!call_.softmax) {
      if (call_.options.weighting == Weighting::sigmoid) {
        table.sigmoid(x, n);
      } else {
        table.relu(x, n, 1.0f / float(call_.key_lengths[std::size_t(b_)]));
      }
      products.narrow(x, n, to);
      continue;
    }
    const float before = reference_[r], now = table.raise(max_.get() + r * lanes, tile_max_.get() + r * lanes, call_.factor, before);
    const float reference = now == -infinity ? 0.0f : now;
    if (now != before) {
      if (before != -infinity) {
        const float factor = std::exp2(before - reference);
        table.scale(sums_.get() + r * lanes, lanes, factor);
        table.scale(out_.get() + r * width_, width_, factor);
      }
      reference_[r] = now;
    }
    products.exp2_sum(x, n, call_.factor, reference, sums_.get() + r * lanes, to);
  }
}

float Rows::weight_at(int r, int column) const {
  const float* row = scores_.get() + r * score_stride;
  if (call_.products->pair == 1) return row[column];
  std::uint32_t word;
  std::memcpy(&word, row + column / 2, sizeof word);
  word = column % 2 ? word & 0xffff0000u : word << 16;
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

/// Values that are not finite were packed as zeros: rows that give them any weight get them here.
void Rows::repair(std::int64_t tile, std::int64_t g) {
  const auto& s = call_.v.strides;
  const std::int64_t begin = tile * call_.keys, all = listed_ ? listed_count_ : call_.key_lengths[std::size_t(b_)];
  const std::int64_t count = std::min(call_.keys, all - begin);
  std::vector<float> value(std::size_t(call_.E));
  for (int j = 0; j < count; ++j) {
    const std::int64_t key = listed_ ? listed_[begin + j] : begin + j;
    read_row(*call_.table, call_.v, b_ * s[0] + key * s[1] + g * s[2], s[3], call_.E, value.data());
    for (std::int64_t e = 0; e < call_.E; ++e) {
      if (std::isfinite(value[std::size_t(e)])) continue;
      for (int r = 0; r < size_; ++r)
        if (j >= first_of(r) && j < last_of(r) && weight_at(r, j) != 0)
          out_.get()[r * width_ + e] += weight_at(r, j) * value[std::size_t(e)];
    }
  }
}

void Rows::visit(std::int64_t tile, const float* k, const float* v, bool finite) {
  if (!scores(tile, k)) return;
  weigh();
  call_.products->value(scores_.get(), score_stride, v, call_.value_panel_words(), out_.get(), width_, size_, int(call_.value_panels()),
                        first_, end_);
  if (!finite) repair(tile, row_[0].h / call_.share);
}

bool Rows::weights(std::int64_t tile, const float* k, const float* totals) {
  if (!scores(tile, k)) return false;
  for (int r = 0; r < size_; ++r) {
    float* x = scores_.get() + r * score_stride + first_of(r);
    const std::int64_t n = last_of(r) - first_of(r);
    if (n == 0) continue;
    if (call_.softmax) {
      float unused[lanes] = {};
      call_.table->strict->exp2_sum(x, n, call_.factor, totals[2 * r], unused, x);
      call_.table->scale(x, n, totals[2 * r + 1]);
    } else if (call_.options.weighting == Weighting::sigmoid) {
      call_.table->sigmoid(x, n);
    } else {
      call_.table->relu(x, n, 1.0f / float(call_.key_lengths[std::size_t(b_)]));
    }
  }
  return true;
}

void Rows::product(const float* a, std::int64_t lda, const float* panels, std::int64_t depth, float* to) {
  call_.products->score(a, lda, panels, depth, to, score_stride, size_, first_, last_, tile_max_.get());
}

void Rows::capped(const float* k, float* to) {
  product(queries_.get(), depth_, k, call_.depth(), to);
  for (int r = 0; r < size_; ++r) {
    float* x = to + r * score_stride + first_of(r);
    call_.table->scale(x, last_of(r) - first_of(r), call_.scale);
    call_.table->softcap(x, last_of(r) - first_of(r), call_.options.softcap);
  }
}

}  // namespace heed::engine
