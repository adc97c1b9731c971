// SPDX-License-Identifier: Apache-2.0
// Which keys a block of rows sees, and what becomes of its sums.
#include "engine/rows.h"

#include <cmath>

#include "kernel/rows.h"

namespace heed::engine {

Rows::Rows(const Call& call)
    : call_(call),
      width_(call.value_width()),
      depth_(up(call.depth(), kernel::panel)),
      capacity_(call.direct ? call.N * call.share
                            : up(std::clamp<std::int64_t>(call.N * call.share, 1, tile_rows), 96)),  // whole groups of 6 and of 32
      queries_{capacity_ * depth_},
      scores_{capacity_ * score_stride},
      out_{capacity_ * width_},
      scratch_{call.direct ? 0 : call.scratch_floats()},
      before_{call.direct ? capacity_ * width_ : 0},
      max_{capacity_ * lanes},
      tile_max_{capacity_ * lanes},
      sums_{capacity_ * lanes} {
  constexpr int line = 16;
  const auto pieces = {&queries_, &scores_, &out_, &scratch_, &before_, &max_, &tile_max_, &sums_};
  std::int64_t total = 0;
  for (const Piece* piece : pieces) total += up(piece->count, line);
  memory_ = Buffer(total);
  float* at = memory_.get();
  for (Piece* piece : pieces) piece->data = at, at += up(piece->count, line);
  std::memset(queries_.get(), 0, std::size_t(capacity_ * depth_) * sizeof(float));
}

void Rows::begin(std::int64_t b, const std::int64_t* listed, std::int64_t count) {
  b_ = b, listed_ = listed, listed_count_ = count;
  size_ = 0;
  lo_ = all_hi_ = std::numeric_limits<std::int64_t>::max();
  hi_ = head_ = all_lo_ = 0;
  whole_ = false;
}

void Rows::add(std::int64_t h, std::int64_t i) {
  const AttendOptions& o = call_.options;
  const std::int64_t keys = call_.key_lengths[std::size_t(b_)], queries = call_.query_lengths[std::size_t(b_)];
  Row row{h, i, i + keys - queries, 0, 0, keys};
  if (o.causal) row.hi = std::min(row.hi, row.p + 1);
  if (o.window_right >= 0 && o.window_right < keys - row.p) row.hi = std::min(row.hi, row.p + o.window_right + 1);
  if (o.window_left >= 0 && o.window_left < row.p) row.lo = row.p - o.window_left;
  if (i >= queries) row.hi = 0;
  row.head = std::clamp<std::int64_t>(row.hi, 0, o.first_keys);
  if (listed_)
    for (std::int64_t* key : {&row.head, &row.lo, &row.hi}) *key = std::lower_bound(listed_, listed_ + listed_count_, *key) - listed_;
  if (row.hi <= row.lo) row.lo = 0, row.hi = row.head;
  if (row.head >= row.lo) row.lo = row.head = 0;
  if (row.lo < row.hi) lo_ = std::min(lo_, row.lo), hi_ = std::max(hi_, row.hi);
  all_lo_ = std::max(all_lo_, row.lo), all_hi_ = std::min(all_hi_, row.hi);
  head_ = std::max(head_, row.head);
  row_[size_++] = row;
}

void Rows::read() {
  const auto& s = call_.q.strides;
  for (int r = 0; r < size_; ++r)
    read_words(call_, call_.q, b_ * s[0] + row_[r].i * s[1] + row_[r].h * s[2], s[3], queries_.get() + r * depth_);
}

void Rows::load() {
  read();
  std::fill(reference_, reference_ + size_, -infinity);
  std::memset(out_.get(), 0, std::size_t(size_ * width_) * sizeof(float));
  std::memset(sums_.get(), 0, std::size_t(size_ * lanes) * sizeof(float));
  std::fill(max_.get(), max_.get() + size_ * lanes, -infinity);
}

void Rows::load_head(std::int64_t head) {
  begin(head / call_.G);
  for (std::int64_t h = 0; h < call_.share; ++h)
    for (std::int64_t i = 0; i < call_.N; ++i) add(head % call_.G * call_.share + h, i);
  load();
}

bool Rows::sees(std::int64_t tile) const {
  const std::int64_t begin = tile * call_.keys;
  if (begin >= head_ && (begin + call_.keys <= lo_ || begin >= hi_)) return false;
  if (!call_.options.blocks) return true;
  for (int r = 0; r < size_; ++r) {
    const std::int64_t size = call_.options.blocks->query_block;
    if (r > 0 && row_[r].h == row_[r - 1].h && row_[r].i / size == row_[r - 1].i / size) continue;
    const BlockMask& blocks = *call_.options.blocks;
    const std::int64_t last = (std::min((tile + 1) * call_.keys, call_.M) - 1) / blocks.key_block;
    for (std::int64_t c = tile * call_.keys / blocks.key_block; c <= last; ++c)
      if (*call_.keep.at<bool>(b_, row_[r].h, row_[r].i / size, c)) return true;
  }
  return false;
}

Columns Rows::span(const Row& row, std::int64_t tile) const {
  const std::int64_t begin = tile * call_.keys;
  const auto inside = [&](std::int64_t j) { return int(std::clamp<std::int64_t>(j - begin, 0, call_.keys)); };
  Columns s{inside(row.head), inside(row.lo), inside(row.hi)};
  if (s.from >= s.to) s.from = s.to = s.head, s.head = 0, s.from = 0;
  if (!call_.options.blocks || s.from >= s.to) return s;
  const std::int64_t size = call_.options.blocks->key_block, at = row.i / call_.options.blocks->query_block;
  const auto kept = [&](std::int64_t c) { return *call_.keep.at<bool>(b_, row.h, at, c); };
  std::int64_t first = (begin + s.first()) / size, last = (begin + s.to - 1) / size;
  while (first <= last && !kept(first)) ++first;
  while (first <= last && !kept(last)) --last;
  if (first > last) return {0, 0, 0};
  for (std::int64_t c = first + 1; c < last; ++c) s.holes |= !kept(c);
  const int low = inside(first * size), high = inside((last + 1) * size);
  if (low >= s.head) s.head = 0;
  s.holes |= s.head > 0 && low > 0;
  s.from = std::max(s.from, low), s.to = std::min(s.to, high);
  if (s.from >= s.to) s.to = std::min(s.head, high), s.from = std::min(low, s.to), s.head = 0;
  return s;
}

/// Which columns each group of rows works on. False: none.
bool Rows::ranges(std::int64_t tile) {
  const int group = call_.products->group, unit = call_.unit(), grain = call_.products->pair * call_.products->step;
  const int groups = (size_ + group - 1) / group, keys = int(call_.keys);
  const bool simple = !call_.options.blocks && head_ == 0;
  if (simple && all_lo_ <= tile * keys && (tile + 1) * keys <= all_hi_) {  // most tiles
    if (whole_) return true;
    std::fill(span_, span_ + size_, Columns{0, 0, keys});
    std::fill(first_, first_ + groups, 0);
    std::fill(last_, last_ + groups, keys);
    std::fill(end_, end_ + groups, keys);
    std::fill(even_, even_ + groups, call_.plain);
    return whole_ = true;
  }
  whole_ = false;
  const auto clip = [&](const Row& row) {
    const std::int64_t from = std::max<std::int64_t>(row.lo - tile * keys, 0), to = std::min<std::int64_t>(row.hi - tile * keys, keys);
    return from < to ? Columns{0, int(from), int(to)} : Columns{0, 0, 0};
  };
  bool any = false;
  for (int g = 0; g < groups; ++g) {
    const int begin = g * group, end = std::min(size_, begin + group);
    int first = keys, last = 0;
    for (int r = begin; r < end; ++r) {
      const Columns s = span_[r] = simple ? clip(row_[r]) : span(row_[r], tile);
      if (s.first() < s.to) first = std::min(first, s.first()), last = std::max(last, s.to);
    }
    first_[g] = first < last ? first / unit * unit : 0;
    last_[g] = first < last ? up(last, unit) : 0;
    end_[g] = first < last ? up(last, grain) : 0;
    even_[g] = call_.plain;
    for (int r = begin; r < end; ++r)
      even_[g] &= span_[r].head == 0 && !span_[r].holes && span_[r].from == first_[g] && span_[r].to == last_[g];
    any |= first < last;
  }
  return any;
}

float Rows::sum_of(int r) const {
  float sum = 0;
  float pair[lanes / 2];  // a shorter chain
  for (int j = 0; j < lanes / 2; ++j) pair[j] = sums_.get()[r * lanes + j] + sums_.get()[r * lanes + lanes / 2 + j];
  for (const float x : pair) sum += x;
  return sum;
}

float Rows::max_of(int r) const { return *std::max_element(max_.get() + r * lanes, max_.get() + (r + 1) * lanes); }

void Rows::save(float* part) const {
  std::memcpy(part, out_.get(), std::size_t(size_ * width_) * sizeof(float));
  float* more = part + size_ * width_;
  for (int r = 0; r < size_; ++r, more += 3) more[0] = reference_[r], more[1] = sum_of(r), more[2] = max_of(r);
}

void Rows::merge(const float* part) {
  const auto blend = kernel::rows_of(call_.context.isa).blend;
  for (int r = 0; r < size_; ++r) {
    float* out = out_.get() + r * width_;
    const float *from = part + r * width_, *more = part + size_ * width_ + 3 * r;
    if (!call_.softmax) {
      for (std::int64_t e = 0; e < width_; ++e) out[e] += from[e];
      continue;
    }
    const float top = std::max(reference_[r], more[0]), reference = top == -infinity ? 0.0f : top;
    const float keep = std::exp2(reference_[r] - reference), take = std::exp2(more[0] - reference);
    blend(out, keep, from, take, width_);
    sums_.get()[r * lanes] = sums_.get()[r * lanes] * keep + more[1] * take;
    reference_[r] = top;
    max_.get()[r * lanes] = std::max(max_.get()[r * lanes], more[2]);
  }
}

void Rows::finish(float* totals) {
  const AttendExtras& extras = call_.extras;
  for (int r = 0; r < size_; ++r) {
    const Row& row = row_[r];
    float* out = out_.get() + r * width_;
    float top = reference_[r], sum = sum_of(r), inverse = 1;
    if (call_.softmax) {
      float factor = 1;
      if (call_.has_sink()) {
        const float sink = call_.sink(row.h) * log2e;
        if (!(sink <= top)) top = sink;  // the sink's NaN reaches the row
        const float reference = top == -infinity ? 0.0f : top;
        factor = reference_[r] == -infinity && sum == 0 ? 0.0f : std::exp2(reference_[r] - reference);
        sum = sum * factor + std::exp2(sink - reference);
      }
      inverse = sum == 0 ? 0.0f : 1.0f / sum;
      call_.table->scale(out, width_, factor * inverse);
    }
    const auto& s = call_.out.strides;
    write_row(*call_.table, call_.out, b_ * s[0] + row.i * s[1] + row.h * s[2], s[3], call_.E, out);
    const auto place = [&](const View& view) {
      return static_cast<float*>(view.data) + b_ * view.strides[0] + row.h * view.strides[1] + row.i * view.strides[2];
    };
    if (extras.lse) *place(*extras.lse) = sum == 0 ? -infinity : (top == -infinity ? 0.0f : top * ln2) + std::log(sum);
    if (extras.row_max) *place(*extras.row_max) = max_of(r) * (call_.factor * ln2);
    if (totals) totals[2 * r] = top == -infinity ? 0.0f : top, totals[2 * r + 1] = inverse;
  }
}

}  // namespace heed::engine
