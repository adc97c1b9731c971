// SPDX-License-Identifier: Apache-2.0
// The inner loops of the ops on numbers and rows, one table an instruction set. `to` may be x, or lie before it. Sums take 64
// numbers at a time, eight of which are added in f32 before they go on in f64, in one order, so that every instruction set gives the same.
#pragma once
#include <cstdint>
#include <type_traits>

#include "heed/context.h"

namespace heed::kernel {

struct ElementTable {
  using Map = void (*)(const float* x, std::int64_t n, float* to);
  /// to = f(x). Measured against f64 over all f32 whose result is above 1e-36: exp, log, log1p within 1 ulp, tanh, erf, rsqrt 1.5, sigmoid,
  /// silu, softplus, sin, cos 2, gelu (by erf) 4; gelu_tanh loses digits where x is far below 0, as its argument is rounded.
  Map exp, tanh, sigmoid, silu, gelu, gelu_tanh, erf, log, log1p, softplus, sin, cos, sqrt, rsqrt, cube, abs, sign;

  /// The same with parameters: slope a below 0; a (e^x - 1) below 0, within 2 ulp; at least a, at most b; x to the a, within 1 ulp.
  using Curve = void (*)(const float* x, std::int64_t n, float a, float b, float* to);
  Curve leaky, elu, clamp, power;

  /// to[i] = x[i * s] op y[i * t]; s and t are 0 or 1. The second of max and min unless the first is beyond it or NaN.
  using Zip = void (*)(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to);
  Zip add, sub, mul, div, max, min;
  /// The same to 0 or 1.
  using Compare = void (*)(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, std::uint8_t* to);
  Compare less, equal;
  /// to[i] = keep[i] ? x[i * s] : y[i * t]; keep is 0 or 1.
  void (*choose)(const std::uint8_t* keep, const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to);

  /// The sum, and the sum of (x - mean)^2.
  double (*sum)(const float* x, std::int64_t n);
  void (*sums)(const float* x, std::int64_t rows, std::int64_t n, double* to);  ///< of each row
  double (*squares)(const float* x, std::int64_t n, double mean);
  /// The largest or smallest, or NaN where there is one; -inf or inf for none.
  float (*largest)(const float* x, std::int64_t n);
  float (*smallest)(const float* x, std::int64_t n);
  /// The first place of a number that is `value`, or NaN where that is; n for none.
  std::int64_t (*find)(const float* x, std::int64_t n, float value);
  /// to = e^(x - top); their sum.
  double (*exp_sum)(const float* x, std::int64_t n, float top, float* to);
  /// Of each row of n: e^(x - largest) over its sum; 0 where all are -inf. The logarithm of that; -inf where all are.
  void (*softmax)(const float* x, std::int64_t rows, std::int64_t n, float* to);
  void (*log_softmax)(const float* x, std::int64_t rows, std::int64_t n, float* to);
  /// to = (x - mean) * factor * gain + offset; gain and offset may be null.
  void (*normalise)(const float* x, std::int64_t n, double mean, float factor, const float* gain, const float* offset, float* to);

  // The same down columns c < n of rows `stride` apart, in order.
  /// sums[c] += x[r][c].
  void (*add_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums);
  /// to[c] = factor times the sum of x[r][c].
  void (*sum_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double factor, float* to);
  /// sums[c] += x[r][c], which to[r][c] becomes.
  void (*run_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums, float* to);
  /// to[c] = the largest or smallest of itself and x[r][c]; NaN wins.
  void (*largest_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, float* to);
  void (*smallest_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, float* to);
  /// to[c] = the first r where x[r][c] is value[c], or NaN where that is; rows < 2^24.
  void (*find_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, const float* value, std::int64_t* to);
  /// to[r][c] = e^(x[r][c] - top[c]); sums[c] += it.
  void (*exp_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, const float* top, double* sums, float* to);

  // Rows that indices name; columns c < n of rows `stride` apart.
  /// out[to[r]][c] += x[from[r]][c] (times weight[r]), r in order; from (null: r) and weight may be null.
  using At = void (*)(const float* x, const std::int64_t* from, const float* weight, std::int64_t rows, std::int64_t stride, std::int64_t n,
                      const std::int64_t* to, float* out);
  At add_at;
  /// out[to[r]][c] = the larger of itself and x[from[r]][c]; NaN wins. No weights.
  At largest_at;
  /// out[r][c] = e^(x[r][c] - y[place[r]][c]), a y of -inf being the lowest number; x over y, 0 over 0 being 0.
  using With = void (*)(const float* x, const float* y, const std::int64_t* place, std::int64_t rows, std::int64_t n, float* out);
  With exp_at, share_at;
  /// Whether every x is in [0, limit).
  bool (*below)(const std::int64_t* x, std::int64_t n, std::int64_t limit);
  /// For each l < lanes and i < n: to[l n + i] = x[l apart + place[l n + i]]; `more` lanes of x follow.
  void (*take)(const float* x, std::int64_t apart, const std::int64_t* place, std::int64_t n, std::int64_t lanes, bool more, float* to);
};

extern const ElementTable elements_avx2, elements_avx512;

inline const ElementTable& elements_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? elements_avx512 : elements_avx2;
}

}  // namespace heed::kernel
