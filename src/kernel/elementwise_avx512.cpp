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
using I = __m512i;
using M = __mmask16;  // of lanes

inline V sqrt(V x) { return _mm512_sqrt_ps(x); }
/// x * 2^n, n whole.
inline V scale_far(V x, V n) { return _mm512_scalef_ps(x, n); }
/// Of x in [1, 16): the quarter of an octave that x lies in is the last four bits, 12 at 1.
inline I octave_quarter(V x) { return _mm512_srli_epi32(_mm512_castps_si512(x), 21); }
/// table[the last four bits of i].
inline V pick(I i, const float* table) { return _mm512_permutexvar_ps(i, load(table)); }
/// x * 2^n, t being n + 3 * 2^22, where the exponent stays one of f32's.
inline V scale_by_last(V x, V t) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_castps_si512(t), 23)));
}
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x); }
/// x = m 2^e, m in [3/4, 3/2); NaN below 0.
inline V parts_of(V x, V& e) {
  const V m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan), up = _mm512_getexp_ps(x);
  e = _mm512_mask_add_ps(up, _mm512_cmp_ps_mask(m, set1(1), _CMP_LT_OQ), up, set1(1));
  return m;
}
/// ln x, y for the x that have such an e.
inline V log_strange(V x, V y) {
  const V inf = set1(__builtin_inff());
  return _mm512_mask_mov_ps(_mm512_mask_sub_ps(y, _mm512_cmp_ps_mask(x, zero(), _CMP_EQ_OQ), zero(), inf),
                            _mm512_cmp_ps_mask(x, inf, _CMP_EQ_OQ), inf);
}
/// Of a turn of n + quarter quarters.
inline V turned(V sine, V cosine, V n, int quarter) {
  const __m512i k = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(quarter));
  const V y = _mm512_mask_blend_ps(_mm512_test_epi32_mask(k, _mm512_set1_epi32(1)), sine, cosine);
  const __m512i sign = _mm512_and_si512(_mm512_slli_epi32(k, 30), _mm512_set1_epi32(int(0x80000000u)));
  return _mm512_xor_ps(y, _mm512_castsi512_ps(sign));
}

inline M less_than(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
inline M not_less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
inline M equal_to(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
inline M unordered(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
inline M either(M a, M b) { return M(a | b); }
inline bool some(M m) { return m != 0; }
inline V choice(M m, V x, V y) { return _mm512_mask_blend_ps(m, y, x); }
inline M load_mask(const std::uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm_test_epi8_mask(bytes, bytes);
}
inline void store_mask(std::uint8_t* p, M m) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_maskz_set1_epi8(m, 1)); }

inline D low_half(V x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
inline D high_half(V x) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)); }
inline D plus(D a, D b) { return _mm512_add_pd(a, b); }
inline D minus(D a, D b) { return _mm512_sub_pd(a, b); }
inline D times(D a, D b) { return _mm512_mul_pd(a, b); }
inline D over(D a, D b) { return _mm512_div_pd(a, b); }
inline D times_plus(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
inline D all(double x) { return _mm512_set1_pd(x); }
inline D within(D x, double low, double high) { return _mm512_min_pd(all(high), _mm512_max_pd(all(low), x)); }
inline D round(D x) { return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x 2^n, n whole.
inline D scale_by(D x, D n) { return _mm512_scalef_pd(x, n); }
/// x = m 2^e, m in [3/4, 3/2).
inline D parts_of(D x, D& e) {
  const D m = _mm512_getmant_pd(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src), up = _mm512_getexp_pd(x);
  e = _mm512_mask_add_pd(up, _mm512_cmp_pd_mask(m, all(1), _CMP_LT_OQ), up, all(1));
  return m;
}
/// To f32.
inline V join(D low, D high) { return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1); }
inline D load(const double* p) { return _mm512_loadu_pd(p); }
inline void store(double* p, D x) { _mm512_storeu_pd(p, x); }
inline D load_part(const double* p, int n) { return _mm512_maskz_loadu_pd(__mmask8(first(n)), p); }
inline void store_part(double* p, D x, int n) { _mm512_mask_storeu_pd(p, __mmask8(first(n)), x); }
inline float most(V x) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline float least(V x) {
  const __m256 eight = _mm256_min_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
}

#include "kernel/four.inl"

/// Eight f64 lanes, and what 64 f32 numbers leave of them.
using Eight = D;
inline Eight eight_zeros() { return _mm512_setzero_pd(); }
inline Eight eight_of(const Four* x) {
  const V all = add(add(x->v[0], x->v[1]), add(x->v[2], x->v[3]));
  return _mm512_cvtps_pd(_mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1)));
}
inline double total_of(Eight x) {
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(x), _mm512_extractf64x4_pd(x, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

#include "kernel/functions.inl"

#include "kernel/elementwise.inl"

#include "kernel/folds.inl"

#include "kernel/columns.inl"

#include "kernel/named_rows.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ElementTable elements_avx512 = avx512::make_table();
}
