// SPDX-License-Identifier: Apache-2.0
#include "kernel/elementwise.h"
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

#include "kernel/vector_avx512.inl"

using D = __m512d;

/// x * 2^n, n whole.
inline V scale_far(V x, V n) { return _mm512_scalef_ps(x, n); }
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x); }
inline D low_half(V x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
inline D high_half(V x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
inline D plus(D a, D b) { return _mm512_add_pd(a, b); }
inline D minus(D a, D b) { return _mm512_sub_pd(a, b); }
inline D all(double x) { return _mm512_set1_pd(x); }
/// To f32.
inline V join(D low, D high) { return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1); }
inline D times(D a, D b) { return _mm512_mul_pd(a, b); }
/// Lane l and l + n/2 first, halved again and again.
inline double add_lanes(D x) {
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd(x, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
inline D load(const double* p) { return _mm512_loadu_pd(p); }
inline void store(double* p, D x) { _mm512_storeu_pd(p, x); }

#include "kernel/elementwise.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ElementTable elements_avx512 = avx512::make_table();
}
