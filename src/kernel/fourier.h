// SPDX-License-Identifier: Apache-2.0
// The inner loops of Fourier transforms, 16 of them abreast: a number is 32 floats, the real parts of 16 lanes and the imaginary ones.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

inline constexpr int fourier_lanes = 16, most_radix = 31;

struct FourierTable {
  /// A pass of Stockham's transform by a radix p, 2, 4 or odd up to 31: y[q][j] = turn(q, j) sum over i of x[i][q] root(i j mod p) for
  /// x [p][m][s], y [m][p][s]. Pairs (re, im): turns [m][p - 1] for j > 0, roots [p].
  void (*pass)(std::int64_t p, std::int64_t m, std::int64_t s, const float* turns, const float* roots, const float* x, float* y);
  /// x[e] = x[e] factor[e], pairs; conjugated where `flipped`.
  void (*turn)(float* x, std::int64_t n, const float* factors, bool flipped);
  /// The transform of 2 m real numbers, x[0..m], from that of m numbers z[t] = (x[2t], x[2t + 1]); turns: e^(-pi i k / m), k <= m.
  void (*part)(const float* z, std::int64_t m, const float* turns, float* x);
  /// The reverse: z from x[0..m], whose outer two count as real.
  void (*join)(const float* x, std::int64_t m, const float* turns, float* z);
};

extern const FourierTable avx2_fourier, avx512_fourier;

inline const FourierTable& fourier_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_fourier : avx2_fourier;
}

}  // namespace heed::kernel
