// SPDX-License-Identifier: Apache-2.0
// The inner loops of the ops on numbers and rows, one table an instruction set. `to` may be x. Sums are in f64, in 32 lanes that are
// added in one order, so that every instruction set gives the same.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

struct ElementTable {
  using Map = void (*)(const float* x, std::int64_t n, float* to);
  /// to = f(x). Measured against f64 over all f32 whose result is above 1e-36: exp, tanh, sigmoid, erf within 1.5 ulp, silu 2.3, gelu (by
  /// erf) 7; gelu_tanh loses digits where x is far below 0, as its argument is rounded.
  Map exp, tanh, sigmoid, silu, gelu, gelu_tanh, erf;

  /// to[i] = x[i * s] op y[i * t]; s and t are 0 or 1. The second of max and min unless the first is beyond it or NaN.
  using Zip = void (*)(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to);
  Zip add, sub, mul, div, max, min;

  /// The sum, and the sum of (x - mean)^2.
  double (*sum)(const float* x, std::int64_t n);
  double (*squares)(const float* x, std::int64_t n, double mean);
  /// The largest, or NaN where there is one; -inf for none.
  float (*largest)(const float* x, std::int64_t n);
  /// sums[c] += x[r * stride + c] over the rows r in order, c < n.
  void (*add_rows)(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums);
  /// to = e^(x - top); their sum.
  double (*exp_sum)(const float* x, std::int64_t n, float top, float* to);
  /// to = (x - mean) * factor * gain + offset, in f64 up to the end; gain and offset may be null.
  void (*normalise)(const float* x, std::int64_t n, double mean, double factor, const float* gain, const float* offset, float* to);
};

extern const ElementTable elements_avx2, elements_avx512;

inline const ElementTable& elements_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? elements_avx512 : elements_avx2;
}

}  // namespace heed::kernel
