// SPDX-License-Identifier: Apache-2.0
#include "kernel/elementwise.h"
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace heed::kernel {
namespace {
namespace avx2 {

#include "kernel/vector_avx2.inl"

using D = __m256d;

/// x * 2^n, n whole and |n| < 254: in two steps, so that the exponent of each is one of f32's and only the last rounds.
inline V scale_far(V x, V n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
  const auto power = [](__m256i e)
                         HEED_INLINE { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23)); };
  return _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(rest));
}
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
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
