// SPDX-License-Identifier: Apache-2.0
// g++ 12 warns about its own headers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernel/scan.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel::scan_avx512_loops {

using V = __m512;
constexpr int width = 16;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline V magnitude(V x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole and small.
inline V scale_by(V x, V n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/// Keeps B in a register and the accumulator in its own.
inline void pin(V& x) { asm("" : "+v"(x)); }
inline void accumulate(V& c, V a, V b) { asm("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }

#include "kernel/scan.inl"

}  // namespace heed::kernel::scan_avx512_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const ScanTable scan_avx512 = scan_avx512_loops::make_table();
}
