// SPDX-License-Identifier: Apache-2.0
// The inner loop of matrix products in f64.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

inline constexpr int doubles_panel = 16, doubles_rows = 6;

struct DoublesTable {
  /// c[rows][16] = A B: rows <= 6, element (r, p) of A is a[r * row + p * column], B is [depth][16]. Every element is summed in the
  /// order of the depth, so that every instruction set gives the same.
  void (*product)(const double* a, std::int64_t row, std::int64_t column, int rows, const double* b, std::int64_t depth, double* c);
};

extern const DoublesTable avx2_doubles, avx512_doubles;

inline const DoublesTable& doubles_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_doubles : avx2_doubles;
}

}  // namespace heed::kernel
