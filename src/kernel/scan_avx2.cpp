// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernel/scan.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace heed::kernel::scan_avx2_loops {

using V = __m256;
constexpr int width = 8;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V min(V a, V b) { return _mm256_min_ps(a, b); }
inline V magnitude(V x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole and small.
inline V scale_by(V x, V n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
/// Keeps B in a register and the accumulator in its own.
inline void pin(V& x) { asm("" : "+x"(x)); }
inline void accumulate(V& c, V a, V b) { asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }

#include "kernel/scan.inl"

}  // namespace heed::kernel::scan_avx2_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const ScanTable scan_avx2 = scan_avx2_loops::make_table();
}
