// SPDX-License-Identifier: Apache-2.0
#include "kernel/elementwise.h"
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace heed::kernel {
namespace {
namespace avx2 {

using V = __m256;
using D = __m256d;
constexpr int width = 8;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline __m256i first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline V load_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline V keep_part(V x, int n) { return _mm256_and_ps(x, _mm256_castsi256_ps(first(n))); }
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline void store_part(float* p, V x, int n) { _mm256_maskstore_ps(p, first(n), x); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm256_fmsub_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V min(V a, V b) { return _mm256_min_ps(a, b); }
inline V abs(V x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole and |n| < 254: in two steps, so that the exponent of each is one of f32's and only the last rounds.
inline V scale_by(V x, V n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
  const auto power = [](__m256i e)
                         HEED_INLINE { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23)); };
  return _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(rest));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
inline D low_half(V x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
inline D high_half(V x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
inline D plus(D a, D b) { return _mm256_add_pd(a, b); }
inline D minus(D a, D b) { return _mm256_sub_pd(a, b); }
inline D all(double x) { return _mm256_set1_pd(x); }
/// To f32.
inline V join(D low, D high) { return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1); }
inline D times(D a, D b) { return _mm256_mul_pd(a, b); }
/// Lane l and l + n/2 first, halved again and again.
inline double add_lanes(D x) {
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline D load(const double* p) { return _mm256_loadu_pd(p); }
inline void store(double* p, D x) { _mm256_storeu_pd(p, x); }

#include "kernel/elementwise.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ElementTable elements_avx2 = avx2::make_table();
}
