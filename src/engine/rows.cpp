// SPDX-License-Identifier: Apache-2.0
#include "engine/rows.h"

#include <cmath>

namespace heed::engine {

Rows::Rows(const Call& call)
    : call_(call),
      width_(call.value_panels() * kernel::panel),
      queries_(tile_rows * call.D),
      scores_(tile_rows * score_stride),
      out_(tile_rows * width_),
      scratch_(std::max(kernel::panel * call.D, width_)) {}

void Rows::begin(std::int64_t b) {
  b_ = b;
  size_ = 0;
}

void Rows::add(std::int64_t h, std::int64_t i) {
  const AttendOptions& o = call_.options;
  const std::int64_t keys = call_.key_lengths[std::size_t(b_)], queries = call_.query_lengths[std::size_t(b_)];
  Row row{h, i, i + keys - queries, 0, keys};
  if (o.window_left >= 0 && o.window_left < row.p) row.lo = row.p - o.window_left;
  if (o.causal) row.hi = std::min(row.hi, row.p + 1);
  if (o.window_right >= 0 && o.window_right < keys - row.p) row.hi = std::min(row.hi, row.p + o.window_right + 1);
  if (i >= queries || row.hi <= row.lo) row.lo = row.hi = 0;
  row_[size_++] = row;
}

void Rows::load() {
  const auto& s = call_.q.strides;
  const float factor = call_.plain && call_.softmax ? call_.scale * log2e : call_.scale;
  for (int r = 0; r < size_; ++r) {
    float* to = queries_.get() + r * call_.D;
    read_row(*call_.table, call_.q, b_ * s[0] + row_[r].i * s[1] + row_[r].h * s[2], s[3], call_.D, to);
    call_.table->scale(to, call_.D, factor);
    max_[r] = -infinity;
    sum_[r] = 0;
  }
  std::memset(out_.get(), 0, std::size_t(size_ * width_) * sizeof(float));
}

std::int64_t Rows::first_tile() const {
  std::int64_t lo = std::numeric_limits<std::int64_t>::max();
  for (int r = 0; r < size_; ++r)
    if (row_[r].lo < row_[r].hi) lo = std::min(lo, row_[r].lo);
  return lo == std::numeric_limits<std::int64_t>::max() ? 0 : lo / call_.keys;
}

std::int64_t Rows::last_tile() const {
  std::int64_t hi = 0;
  for (int r = 0; r < size_; ++r) hi = std::max(hi, row_[r].hi);
  return (hi + call_.keys - 1) / call_.keys;
}

bool Rows::kept(std::int64_t tile) const {
  if (!call_.options.blocks) return true;
  const BlockMask& blocks = *call_.options.blocks;
  const std::int64_t first = tile * call_.keys / blocks.key_block;
  const std::int64_t last = (std::min((tile + 1) * call_.keys, call_.M) - 1) / blocks.key_block;
  for (int r = 0; r < size_; ++r) {
    if (r > 0 && row_[r].h == row_[r - 1].h && row_[r].i / blocks.query_block == row_[r - 1].i / blocks.query_block) continue;
    for (std::int64_t c = first; c <= last; ++c)
      if (*call_.keep.at<bool>(b_, row_[r].h, row_[r].i / blocks.query_block, c)) return true;
  }
  return false;
}

/// Softcap, bias, ALiBi, masks of the row's cells [from, to) of the tile; then units of log 2 for softmax.
void Rows::steps(int r, std::int64_t begin, int from, int to) {
  const AttendOptions& o = call_.options;
  const Row& row = row_[r];
  float* x = scores_.get() + r * score_stride;
  if (o.softcap > 0) call_.table->softcap(x + from, to - from, o.softcap);
  if (o.bias) {
    const float* bias = call_.bias.at<float>(b_, row.h, row.i, begin);
    const std::int64_t m = call_.bias.m;
    for (int c = from; c < to; ++c) x[c] += bias[c * m];
  }
  if (o.alibi_slopes) {
    const float slope = static_cast<const float*>(o.alibi_slopes->data)[row.h * o.alibi_slopes->strides[0]];
    for (int c = from; c < to; ++c) {
      const std::int64_t distance = row.p - (begin + c);
      x[c] -= slope * float(distance < 0 ? -distance : distance);
    }
  }
  if (call_.softmax) call_.table->scale(x + from, to - from, log2e);
  if (o.mask) {
    const bool* mask = call_.mask.at<bool>(b_, row.h, row.i, begin);
    const std::int64_t m = call_.mask.m;
    for (int c = from; c < to; ++c)
      if (!mask[c * m]) x[c] = -infinity;
  }
  if (o.blocks) {
    const std::int64_t size = o.blocks->key_block, at = row.i / o.blocks->query_block;
    for (std::int64_t c = from; c < to;) {
      const std::int64_t block = (begin + c) / size, end = std::min<std::int64_t>((block + 1) * size - begin, to);
      if (!*call_.keep.at<bool>(b_, row.h, at, block)) std::fill(x + c, x + end, -infinity);
      c = end;
    }
  }
}

/// Scores of a tile, -inf where a row may not look. False: nothing to see here.
bool Rows::scores(std::int64_t tile, const float* k) {
  const std::int64_t begin = tile * call_.keys;
  const auto inside = [&](std::int64_t j) { return int(std::clamp<std::int64_t>(j - begin, 0, call_.keys)); };
  bool any = false;
  for (int g = 0; g * kernel::group < size_; ++g) {
    int first = int(call_.keys), last = 0;
    for (int r = g * kernel::group; r < std::min(size_, (g + 1) * kernel::group); ++r) {
      const int from = inside(row_[r].lo), to = inside(row_[r].hi);
      if (from < to) first = std::min(first, from), last = std::max(last, to);
    }
    first_[g] = first < last ? first / kernel::panel * kernel::panel : 0;
    last_[g] = first < last ? last : 0;
    any |= first < last;
  }
  if (!any) return false;
  call_.table->score(queries_.get(), call_.D, k, call_.D, scores_.get(), score_stride, size_, first_, last_);
  for (int r = 0; r < size_; ++r) {
    const int first = first_of(r), last = last_of(r);
    if (first == last) continue;
    float* x = scores_.get() + r * score_stride;
    const int from = std::clamp(inside(row_[r].lo), first, last), to = std::clamp(inside(row_[r].hi), from, last);
    if (!call_.plain && from < to) steps(r, begin, from, to);
    std::fill(x + first, x + from, -infinity);
    std::fill(x + to, x + last, -infinity);
  }
  return true;
}

/// Online softmax: sums so far are of 2^(s - max); a larger maximum rescales them. Others: the weights themselves.
void Rows::weigh(int r, float* x, std::int64_t n) {
  const kernel::Table& table = *call_.table;
  if (!call_.softmax) {
    if (call_.options.weighting == Weighting::sigmoid) return table.sigmoid(x, n);
    return table.relu(x, n, 1.0f / float(call_.key_lengths[std::size_t(b_)]));
  }
  const float top = std::max(max_[r], table.max(x, n)), reference = top == -infinity ? 0.0f : top;
  if (top != max_[r]) {
    const float factor = std::exp2(max_[r] - reference);
    sum_[r] *= factor;
    if (max_[r] != -infinity || sum_[r] != 0) table.scale(out_.get() + r * width_, width_, factor);
    max_[r] = top;
  }
  sum_[r] += table.exp2_sum(x, n, reference);
}

void Rows::multiply(const float* v, bool finite) {
  const std::int64_t stride = call_.keys * kernel::panel;
  const int panels = int(call_.value_panels());
  const float* p = scores_.get();
  if (finite) return call_.table->value(p, score_stride, v, stride, out_.get(), width_, size_, panels, first_, last_);
  for (int r = 0; r < size_; ++r) {  // a weight of 0 must not meet NaN or infinity
    const float* x = p + r * score_stride;
    for (int from = first_of(r), last = last_of(r); from < last;) {
      int to = from;
      while (to < last && x[to] != 0) ++to;
      if (from < to) call_.table->value(x, score_stride, v, stride, out_.get() + r * width_, width_, 1, panels, &from, &to);
      from = to + 1;
    }
  }
}

void Rows::visit(std::int64_t tile, const float* k, const float* v, bool finite) {
  if (!scores(tile, k)) return;
  for (int r = 0; r < size_; ++r)
    if (first_of(r) < last_of(r)) weigh(r, scores_.get() + r * score_stride + first_of(r), last_of(r) - first_of(r));
  multiply(v, finite);
}

void Rows::finish(float* totals) {
  const AttendExtras& extras = call_.extras;
  for (int r = 0; r < size_; ++r) {
    const Row& row = row_[r];
    float* out = out_.get() + r * width_;
    float top = max_[r], sum = sum_[r], inverse = 1;
    if (call_.softmax) {
      float factor = 1;
      if (call_.has_sink()) {
        const float sink = call_.sink(row.h) * log2e;
        if (!(sink <= top)) top = sink;  // the sink's NaN reaches the row
        const float reference = top == -infinity ? 0.0f : top;
        factor = max_[r] == -infinity && sum == 0 ? 0.0f : std::exp2(max_[r] - reference);
        sum = sum * factor + std::exp2(sink - reference);
      }
      inverse = sum == 0 ? 0.0f : 1.0f / sum;
      call_.table->scale(out, width_, factor * inverse);
    }
    const auto& s = call_.out.strides;
    write_row(call_.out, b_ * s[0] + row.i * s[1] + row.h * s[2], s[3], call_.E, out);
    const auto place = [&](const View& view) {
      return static_cast<float*>(view.data) + b_ * view.strides[0] + row.h * view.strides[1] + row.i * view.strides[2];
    };
    if (extras.lse) *place(*extras.lse) = sum == 0 ? -infinity : (top == -infinity ? 0.0f : top * ln2) + std::log(sum);
    if (extras.row_max) *place(*extras.row_max) = max_[r] * ln2;
    if (totals) totals[2 * r] = top == -infinity ? 0.0f : top, totals[2 * r + 1] = inverse;
  }
}

void Rows::weights(std::int64_t tile, const float* k, const float* totals) {
  if (!scores(tile, k)) return;
  for (int r = 0; r < size_; ++r) {
    float* x = scores_.get() + r * score_stride + first_of(r);
    const std::int64_t n = last_of(r) - first_of(r);
    if (n == 0) continue;
    if (call_.softmax) {
      call_.table->exp2_sum(x, n, totals[2 * r]);
      call_.table->scale(x, n, totals[2 * r + 1]);
    } else {
      weigh(r, x, n);
    }
  }
}

}  // namespace heed::engine
