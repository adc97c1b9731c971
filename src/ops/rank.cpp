// SPDX-License-Identifier: Apache-2.0
// Order along an axis: numbers become words that sort like them, a heap for few, bytes for many.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// Words whose order is that of the numbers, NaN above all and the two zeros alike; the place breaks ties, the lower one first.
std::uint64_t word_of(float x, std::int64_t place, bool descending) {
  std::uint32_t bits;
  x = x != x ? std::numeric_limits<float>::quiet_NaN() : x + 0.0f;
  std::memcpy(&bits, &x, sizeof bits);
  bits = bits >> 31 ? ~bits : bits | 0x80000000u;
  return std::uint64_t(descending ? ~bits : bits) << 32 | std::uint32_t(place);
}

/// Sorts by bytes of the upper half, lowest first: the places are in order already. n words in each of words and room.
void sort_words(std::vector<std::uint64_t>& words, std::vector<std::uint64_t>& room) {
  for (int shift = 32; shift < 64; shift += 8) {
    std::array<std::size_t, 257> begin{};
    for (const auto word : words) ++begin[(word >> shift & 255) + 1];
    for (std::size_t i = 1; i < 257; ++i) begin[i] += begin[i - 1];
    for (const auto word : words) room[begin[word >> shift & 255]++] = word;
    words.swap(room);
  }
}

/// The k lowest words of n numbers, in order, to the front of words: a heap of those so far, whose worst number most others do not beat.
void best(const float* v, std::int64_t stride, std::int64_t n, std::int64_t k, bool descending, std::vector<std::uint64_t>& words) {
  const auto first = words.begin(), last = first + k;
  for (std::int64_t e = 0; e < k; ++e) words[std::size_t(e)] = word_of(v[e * stride], e, descending);
  if (k == 0) return;
  std::make_heap(first, last);
  const auto worst = [&] { return v[std::int64_t(*first & 0xffffffff) * stride]; };
  float bar = worst();
  for (std::int64_t e = k; e < n; ++e) {
    const float value = v[e * stride];
    if (descending ? value <= bar : value >= bar) continue;  // NaN on either side goes on
    const std::uint64_t word = word_of(value, e, descending);
    if (word > *first) continue;
    std::pop_heap(first, last);
    *(last - 1) = word;
    std::push_heap(first, last);
    bar = worst();
  }
  std::sort_heap(first, last);
}

/// The first k indices of each lane in order, equals by lower index.
Tensor ranked(int threads, const Tensor& x, int axis, std::int64_t k, bool descending) {
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  if (cut.extent > std::int64_t{0xffffffff}) fail("x", "fewer than 2^32 numbers along the axis", x.shape().text());
  Tensor out(DType::i64, with_axis(x.shape(), axis, k));
  pieces(threads, cut.outer * cut.inner, 4096 / std::max<std::int64_t>(cut.extent, 1), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint64_t> words(std::size_t(cut.extent)), room(words.size());
    for (std::int64_t lane = begin; lane < end; ++lane) {
      const std::int64_t o = lane / cut.inner, i = lane % cut.inner;
      const float* v = from.raw<float>() + o * cut.extent * cut.inner + i;
      if (k <= 64) {
        best(v, cut.inner, cut.extent, k, descending, words);
      } else {
        for (std::int64_t e = 0; e < cut.extent; ++e) words[std::size_t(e)] = word_of(v[e * cut.inner], e, descending);
        if (k > cut.extent / 16) {
          sort_words(words, room);
        } else {
          std::nth_element(words.begin(), words.begin() + k - 1, words.end());
          std::sort(words.begin(), words.begin() + k);
        }
      }
      for (std::int64_t e = 0; e < k; ++e)
        out.raw<std::int64_t>()[(o * k + e) * cut.inner + i] = std::int64_t(words[std::size_t(e)] & 0xffffffff);
    }
  });
  return out;
}

}  // namespace

std::pair<Tensor, Tensor> Ops::topk(const Tensor& x, std::int64_t k, int axis, bool largest) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (k < 0 || k > x.extent(axis)) fail("k", "0 to " + std::to_string(x.extent(axis)), std::to_string(k));
  const Tensor index = ranked(context_.threads, x.with_origin(nullptr), axis, k, largest);
  return {gather(x, axis, index), index};
}

Tensor Ops::argsort(const Tensor& x, int axis, bool descending) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  return ranked(context_.threads, x.with_origin(nullptr), axis, x.extent(axis), descending);
}

}  // namespace v0
}  // namespace heed
