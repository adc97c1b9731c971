// SPDX-License-Identifier: Apache-2.0
#include "kernel/elementwise.h"
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

using V = __m512;
using D = __m512d;
constexpr int width = 16;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline __mmask16 first(int n) { return __mmask16((1u << n) - 1); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline V keep_part(V x, int n) { return _mm512_maskz_mov_ps(first(n), x); }
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline void store_part(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm512_fmsub_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline V abs(V x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole.
inline V scale_by(V x, V n) { return _mm512_scalef_ps(x, n); }
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm512_set1_ps(-0.0f);
  return _mm512_or_ps(_mm512_andnot_ps(bit, magnitude), _mm512_and_ps(bit, sign));
}
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
