// SPDX-License-Identifier: Apache-2.0
// Elementwise loops over rows of a decoder, one table a vector width. Everything is f32 unless a name says otherwise.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

struct RowTable {
  /// y = x / sqrt(mean(x^2) + epsilon) * weight; y may be x.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, std::int64_t n, float* y);
  /// x = x + y.
  void (*add)(float* x, const float* y, std::int64_t n);
  /// gate = gate / (1 + e^-gate) * up.
  void (*silu_mul)(float* gate, const float* up, std::int64_t n);
  /// (x[i], x[i + half]) turned by the angle i, i < half: (a cos - b sin, b cos + a sin).
  void (*rotate)(float* x, const float* cos, const float* sin, std::int64_t half);
  /// a = a * wa + b * wb.
  void (*blend)(float* a, float wa, const float* b, float wb, std::int64_t n);
  /// ln sum e^x, for finite x.
  float (*log_sum_exp)(const float* x, std::int64_t n);
  /// Rounded to nearest even.
  void (*to_f16)(const float* x, std::int64_t n, std::uint16_t* y);
  void (*to_bf16)(const float* x, std::int64_t n, std::uint16_t* y);
};

extern const RowTable avx2_rows, avx512_rows;

/// Emulated instruction sets use the loops that every CPU runs.
inline const RowTable& rows_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_rows : avx2_rows;
}

}  // namespace heed::kernel
