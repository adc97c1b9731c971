// SPDX-License-Identifier: Apache-2.0
// The inner loops of the engines, one table an instruction set. Everything is f32; 16-bit inputs are widened before.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

inline constexpr int panel = 16;  ///< columns of a packed panel
inline constexpr int group = 6;   ///< rows of the micro-kernel; ranges are given a group of rows

struct Table {
  const char* name;

  /// s[r][c] = sum over d of q[r][d] k[c/16][d][c%16], for the panels that hold columns [first[g], last[g]) of each group g of rows.
  void (*score)(const float* q, std::int64_t ldq, const float* k, std::int64_t depth, float* s, std::int64_t lds, int rows,
                const int* first, const int* last);
  /// out[r][c] += sum over j in [first[g], last[g]) of p[r][j] v[c/16][j][c%16]; panels of v stand `stride` floats apart.
  void (*value)(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows,
                int panels, const int* first, const int* last);

  /// Largest of n numbers, NaN left out; -inf for none.
  float (*max)(const float* x, std::int64_t n);
  /// x = 2^(x - reference), returns the sum. NaN stays NaN, below 2^-126 is 0.
  float (*exp2_sum)(float* x, std::int64_t n, float reference);
  /// x = x * factor.
  void (*scale)(float* x, std::int64_t n, float factor);
  /// x = cap * tanh(x / cap).
  void (*softcap)(float* x, std::int64_t n, float cap);
  /// x = 1 / (1 + e^-x).
  void (*sigmoid)(float* x, std::int64_t n);
  /// x = max(x, 0) * factor.
  void (*relu)(float* x, std::int64_t n, float factor);
  /// 16 rows of n numbers, dense, to [n][16].
  void (*transpose)(const float* from, std::int64_t n, float* to);
  /// Whether n numbers, a multiple of 16, are neither infinite nor NaN.
  bool (*finite)(const float* x, std::int64_t n);
  /// Dense 16-bit floats to f32.
  void (*widen_f16)(const std::uint16_t* from, std::int64_t n, float* to);
  void (*widen_bf16)(const std::uint16_t* from, std::int64_t n, float* to);
};

extern const Table avx2_table, avx512_table;

/// The table that serves an instruction set; those without loops of their own fall to the next lower one.
inline const Table& table_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_table : avx2_table;
}

}  // namespace heed::kernel
