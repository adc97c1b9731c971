// SPDX-License-Identifier: Apache-2.0
// The inner loops of the engines. A Table an instruction set holds what works on f32; Products are the two matrix products
// of attention over packed words, in f32 or in pairs of bf16.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

inline constexpr int panel = 16;  ///< columns of a packed panel, and lanes of a row's maximum and sum

/// Storage types that the direct loops read as they are.
enum class Stored : std::uint8_t { f32, bf16, f16 };

/// How products are computed. A word is a float, or two bf16 of neighbouring channels (of keys in weights and values), the
/// lower one first; words travel through float pointers.
struct Products {
  const char* name;
  int pair;   ///< elements of a word
  int step;   ///< depths are multiples of this many words, filled with zeros
  int group;  ///< rows that share a range of columns

  /// s[r][c] = sum over d of q[r][d] k[c/16][d][c%16] for the panels that hold columns [first[g], last[g]) of each group g of
  /// rows; where a group has any, lanes[r][c%16] becomes the largest s[r][c], NaN being passed over. Depth and strides are in
  /// words.
  void (*score)(const float* q, std::int64_t ldq, const float* k, std::int64_t depth, float* s, std::int64_t lds, int rows,
                const int* first, const int* last, float* lanes);
  /// out[r][c] += sum over keys j in [first[g], last[g]), multiples of pair * step, of p[r][j] v[c/16][j][c%16]; ldp and the
  /// `stride` of panels of v are in words.
  void (*value)(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows, int panels,
                const int* first, const int* last);
  /// n floats (a multiple of 16) x to words of 2^(x * factor - reference); below 2^-126 is 0, NaN stays NaN. `to` is x or
  /// memory before it. The f32 weights are added to 16 sums.
  void (*exp2_sum)(const float* x, std::int64_t n, float factor, float reference, float* sums, float* to);
  /// n floats (a multiple of 16) to words; `to` is x or memory before it.
  void (*narrow)(const float* x, std::int64_t n, float* to);
};

/// What memory is asked for while key i is worked on: the bytes of a row at at + i * step.
struct Ahead {
  const char* at;
  std::int64_t step;
};

/// Products with keys and values where they lie, for few rows: s[r][j] = q[r] k[j] and out[r] += sum of p[r][j] v[j] over n keys,
/// `stride` elements apart, each dense. Up to three more columns of s are overwritten.
struct Direct {
  void (*score)(const float* q, std::int64_t ldq, const void* k, Stored type, std::int64_t stride, std::int64_t depth, std::int64_t n,
                float* s, std::int64_t lds, int rows, Ahead next);
  void (*value)(const float* p, std::int64_t ldp, const void* v, Stored type, std::int64_t stride, std::int64_t width, std::int64_t n,
                float* out, std::int64_t ldo, int rows, Ahead next);
};

struct Table {
  const char* name;
  const Products* strict;  ///< f32 throughout
  const Products* brief;   ///< f32 with weights good to 16-bit results

  /// lanes[i] = the largest of x[i], x[i + 16] ... of n (a multiple of 16) numbers, NaN left out; -inf for none.
  void (*max_lanes)(const float* x, std::int64_t n, float* lanes);
  /// lanes = max(lanes, tile). The reference of a row's weights: it stays until a lane times factor exceeds it by more than 8,
  /// then it is the largest lane, rounded up.
  float (*raise)(float* lanes, const float* tile, float factor, float reference);
  /// x = x * factor.
  void (*scale)(float* x, std::int64_t n, float factor);
  /// x = x + y.
  void (*add)(float* x, const float* y, std::int64_t n);
  /// x[i] -= slope * |distance - i|.
  void (*alibi)(float* x, std::int64_t n, float slope, float distance);
  /// x[i] = -inf where keep[i] is 0.
  void (*mask)(float* x, const std::uint8_t* keep, std::int64_t n);
  /// x = cap * tanh(x / cap).
  void (*softcap)(float* x, std::int64_t n, float cap);
  /// x = 1 / (1 + e^-x).
  void (*sigmoid)(float* x, std::int64_t n);
  /// x = max(x, 0) * factor.
  void (*relu)(float* x, std::int64_t n, float factor);

  /// Gradients of scores from weights p and gradients g of weights, in place: p (g - delta), 0 where p is 0; p (1 - p) g; factor g
  /// where p > 0. softcap: g *= 1 - (x / cap)^2, x being capped.
  void (*softmax_back)(const float* p, float* g, std::int64_t n, float delta);
  /// The same of all weights of a row, whose sum is 1 but for rounding and becomes it: delta, off by as much as sums of other products
  /// are, moves by the mean of g - delta, so that gradients of scores cancel where one weight is almost all.
  void (*softmax_back_whole)(float* p, float* g, std::int64_t n, float delta);
  void (*sigmoid_back)(const float* p, float* g, std::int64_t n);
  void (*relu_back)(const float* p, float* g, std::int64_t n, float factor);
  void (*softcap_back)(const float* x, float* g, std::int64_t n, float cap);

  /// 16 rows of n words, `stride` apart, to [n][16].
  void (*transpose)(const float* from, std::int64_t stride, std::int64_t n, float* to);
  /// The same with rows of 16 words `to_stride` apart.
  void (*turn)(const float* from, std::int64_t stride, std::int64_t n, float* to, std::int64_t to_stride);
  /// n words of (a[i], b[i]); n a multiple of 16.
  void (*interleave)(const std::uint16_t* a, const std::uint16_t* b, std::int64_t n, float* to);
  /// Whether n numbers, a multiple of 16, are neither infinite nor NaN.
  bool (*finite)(const float* x, std::int64_t n);
  /// Dense 16-bit floats to f32 and back, to nearest even.
  void (*widen_f16)(const std::uint16_t* from, std::int64_t n, float* to);
  void (*widen_bf16)(const std::uint16_t* from, std::int64_t n, float* to);
  void (*narrow_f16)(const float* from, std::int64_t n, std::uint16_t* to);
  void (*narrow_bf16)(const float* from, std::int64_t n, std::uint16_t* to);

  Direct direct;  ///< q and p in f32
};

extern const Table avx2_table, avx512_table, plain_table;
/// Pairs of bf16: VDPBF16PS, tiles, and both in plain C++.
extern const Products avx512_bf16_products, amx_products, plain_bf16_products, plain_amx_products;

/// Over bf16 keys and values; q and p are pairs of bf16.
extern const Direct avx512_bf16_direct, plain_bf16_direct;

/// The table that serves an instruction set; those without loops of their own fall to the next lower one.
inline const Table& table_of(Isa isa) {
  switch (isa) {
    case Isa::avx2:
      return avx2_table;
    case Isa::avx512_bf16_emulated:
    case Isa::amx_emulated:
      return plain_table;
    default:
      return avx512_table;
  }
}

/// What reads bf16 directly, with the products whose words it takes; null where the instruction set has none.
struct DirectPairs {
  const Products* products;
  const Direct* direct;
};
inline DirectPairs direct_pairs_of(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
    case Isa::amx:
      return {&avx512_bf16_products, &avx512_bf16_direct};
    case Isa::avx512_bf16_emulated:
    case Isa::amx_emulated:
      return {&plain_bf16_products, &plain_bf16_direct};
    default:
      return {nullptr, nullptr};
  }
}

/// Products of pairs; null where the instruction set has none.
inline const Products* pairs_of(Isa isa) {
  switch (isa) {
    case Isa::avx512_bf16:
      return &avx512_bf16_products;
    case Isa::amx:
      return &amx_products;
    case Isa::avx512_bf16_emulated:
      return &plain_bf16_products;
    case Isa::amx_emulated:
      return &plain_amx_products;
    default:
      return nullptr;
  }
}

}  // namespace heed::kernel
