// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernel/table.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace heed::kernel::avx2 {

using V = __m256;
constexpr int width = 8;
constexpr int wide_panels = 1;  // 6 x 16: 12 accumulators of 16 registers

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline V negative_abs(V x) { return _mm256_or_ps(x, _mm256_set1_ps(-0.0f)); }
/// x * 2^n, n whole and small.
inline V scale_by(V x, V n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
/// Keeps B in a register and the accumulator in its own.
inline void pin(V& x) { asm("" : "+x"(x)); }
inline void accumulate(V& c, V a, V b) { asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
inline V from_half(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

#include "kernel/tile.inl"

}  // namespace heed::kernel::avx2
#pragma GCC pop_options

namespace heed::kernel {
constinit const Table avx2_table = avx2::make_table("avx2");
}
