// SPDX-License-Identifier: Apache-2.0
// Products of pairs on tiles of 16 rows x 64 bytes, over a policy of tile operations: the instructions, or plain C++.
//
// The packed layout of pairs is what TDPBF16PS wants: 16 rows of words by 16 columns are one tile of B as they lie, and 16
// rows of 16 words one tile of A. A block of 32 rows x 32 columns takes four accumulators, two tiles of A and two of B.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernel/table.h"

namespace heed::kernel::amx {

inline constexpr int group = 32, tile = 16;

/// Rounds like the manual: denormals are zeros, even and odd products are summed apart over the whole depth.
struct Emulated {
  float at[8][tile][tile];

  static float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
  static float part(float word, bool odd) {
    const auto bits = std::bit_cast<std::uint32_t>(word);
    return flush(std::bit_cast<float>(odd ? bits & 0xffff0000u : bits << 16));
  }
  template <int T>
  void zero() {
    for (auto& row : at[T])
      for (float& x : row) x = 0;
  }
  template <int T>
  void load(const float* p, std::int64_t stride) {
    for (int i = 0; i < tile; ++i)
      for (int j = 0; j < tile; ++j) at[T][i][j] = p[i * stride + j];
  }
  template <int T>
  void store(float* p, std::int64_t stride) {
    for (int i = 0; i < tile; ++i)
      for (int j = 0; j < tile; ++j) p[i * stride + j] = at[T][i][j];
  }
  static void raise(float* lanes, const float* c) {
    for (int j = 0; j < 2 * panel; ++j) lanes[j % panel] = c[j] > lanes[j % panel] ? c[j] : lanes[j % panel];
  }
  template <int C, int A, int B>
  void dot() {
    for (int i = 0; i < tile; ++i)
      for (int j = 0; j < tile; ++j) {
        float even = 0, odd = 0;
        for (int k = 0; k < tile; ++k) {
          even = flush(std::fma(part(at[A][i][k], false), part(at[B][k][j], false), even));
          odd = flush(std::fma(part(at[A][i][k], true), part(at[B][k][j], true), odd));
        }
        at[C][i][j] = flush(flush(at[C][i][j]) + flush(even + odd));
      }
  }
};

/// rows of 16 x 2, columns of 16 x N (1 or 2); `adding` to C. Rows come 32 at a time, whatever is in the last ones.
template <class Tiles, int N>
inline void block(Tiles& t, const float* a, std::int64_t lda, const float* b, std::int64_t stride, std::int64_t depth, float* c,
                  std::int64_t ldc, bool adding) {
  float *c1 = c + tile * ldc, *c0_right = c + tile, *c1_right = c1 + tile;
  if (adding) {
    t.template load<0>(c, ldc);
    t.template load<1>(c1, ldc);
    if constexpr (N == 2) t.template load<2>(c0_right, ldc), t.template load<3>(c1_right, ldc);
  } else {
    t.template zero<0>();
    t.template zero<1>();
    if constexpr (N == 2) t.template zero<2>(), t.template zero<3>();
  }
  for (std::int64_t d = 0; d < depth; d += tile) {
    t.template load<4>(a + d, lda);
    t.template load<6>(b + d * panel, panel);
    t.template dot<0, 4, 6>();
    t.template load<5>(a + tile * lda + d, lda);
    t.template dot<1, 5, 6>();
    if constexpr (N == 2) {
      t.template load<7>(b + stride + d * panel, panel);
      t.template dot<2, 4, 7>();
      t.template dot<3, 5, 7>();
    }
  }
  t.template store<0>(c, ldc);
  t.template store<1>(c1, ldc);
  if constexpr (N == 2) t.template store<2>(c0_right, ldc), t.template store<3>(c1_right, ldc);
}

template <class Tiles>
void score(const float* q, std::int64_t ldq, const float* k, std::int64_t depth, float* s, std::int64_t lds, int rows, const int* first,
           const int* last, float* lanes) {
  Tiles t;
  const std::int64_t stride = depth * panel;
  for (int g = 0; g * group < rows; ++g) {
    const int at = g * group, from = first[g] / (2 * panel) * 2, to = (last[g] + 2 * panel - 1) / (2 * panel) * 2;
    if (first[g] >= last[g]) continue;
    std::fill(lanes + at * panel, lanes + (at + group) * panel, -__builtin_inff());
    for (int i = from; i < to; i += 2) {
      float* c = s + at * lds + i * panel;
      block<Tiles, 2>(t, q + at * ldq, ldq, k + i * stride, stride, depth, c, lds, false);
      for (int r = 0; r < group; ++r) Tiles::raise(lanes + (at + r) * panel, c + r * lds);
    }
  }
}

template <class Tiles>
void value(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows, int panels,
           const int* first, const int* last) {
  Tiles t;
  for (int g = 0; g * group < rows; ++g) {
    const int at = g * group, from = first[g] / 2, depth = last[g] / 2 - from;
    if (depth <= 0) continue;
    const float *a = p + at * ldp + from, *b = v + from * panel;
    float* c = out + at * ldo;
    int i = 0;
    for (; i + 2 <= panels; i += 2) block<Tiles, 2>(t, a, ldp, b + i * stride, stride, depth, c + i * panel, ldo, true);
    if (i < panels) block<Tiles, 1>(t, a, ldp, b + i * stride, stride, depth, c + i * panel, ldo, true);
  }
}

}  // namespace heed::kernel::amx
