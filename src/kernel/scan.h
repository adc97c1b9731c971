// SPDX-License-Identifier: Apache-2.0
// The inner loops of the scan engine, one table an instruction set. Columns come in panels of 16 floats.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

/// Element (row, step) of the left operand.
struct Left {
  const float* data;
  std::int64_t row, step;
};
/// Row `step` of panel p of the right operand, or row of the result, starts at data + row * `row` + p * `panel`.
template <class T>
struct Panels {
  T* data;
  std::int64_t row, panel;
};

struct ScanTable {
  /// c[rows, panels] (+)= a[rows, depth] b[depth, panels].
  void (*product)(int rows, int panels, std::int64_t depth, Left a, Panels<const float> b, Panels<float> c, bool adding);
  /// One token. p = k^T diag(w) s over `panels`: what the delta rule takes back.
  void (*recall)(const float* s, std::int64_t row, std::int64_t depth, int panels, const float* w, const float* k, float* p);
  /// One token. to = diag(w) from + k u^T; o = q^T to, or of diag(w) from where exclusive. `to` may be `from`.
  void (*step)(const float* from, std::int64_t from_row, float* to, std::int64_t to_row, std::int64_t depth, int panels, const float* w,
               const float* k, const float* q, const float* u, float* o, bool exclusive);
  /// to = x * y; x * factor; to + x * factor; to + x * y * factor. n is a multiple of 16, but any for add_scaled.
  void (*multiply)(const float* x, const float* y, std::int64_t n, float* to);
  void (*scale)(const float* x, float factor, std::int64_t n, float* to);
  void (*add_scaled)(const float* x, float factor, std::int64_t n, float* to);
  void (*add_product)(const float* x, const float* y, float factor, std::int64_t n, float* to);
  /// to = e^x, 0 below -87 and clamped above 87; n is a multiple of 16.
  void (*exp)(const float* x, std::int64_t n, float* to);
  /// to = x + y; whether every |to| <= limit. n is a multiple of 16.
  bool (*add_small)(const float* x, const float* y, float limit, std::int64_t n, float* to);
  /// The sum of x * y; n is a multiple of 16.
  float (*dot)(const float* x, const float* y, std::int64_t n);
};

extern const ScanTable scan_avx2, scan_avx512;

inline const ScanTable& scan_table_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? scan_avx512 : scan_avx2;
}

}  // namespace heed::kernel
