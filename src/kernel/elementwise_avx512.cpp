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
inline I octave_part(V x) { return _mm512_srli_epi32(_mm512_castps_si512(x), 21); }
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

/// For gelu_of(), a = |x|: the centre of the quarter of an octave that 1 + a lies in, those from 1.0 standing at 12, and a polynomial
/// around it for 2^(47/64 a^2) times the share of the normal distribution beyond a.
alignas(64) constexpr float gelu_centre[16] = {1.25f, 1.75f, 2.25f, 2.75f, 3.5f,   4.5f,   5.5f,   6.5f,
                                               8.0f,  10.0f, 12.0f, 14.0f, 0.125f, 0.375f, 0.625f, 0.875f};
alignas(64) constexpr float gelu_terms[6][16] = {
    {0.234039277f, 0.19042559f, 0.160839036f, 0.139963672f, 0.11878404f, 0.101818547f, 0.0924377292f, 0.0878931284f, 0.087552242f,
     0.0974623561f, 0.121194497f, 0.166433066f, 0.453857243f, 0.38008678f, 0.324498773f, 0.281711489f},
    {-0.10677848f, -0.0708655268f, -0.0491793826f, -0.0352860652f, -0.0223529637f, -0.012528793f, -0.00666298112f, -0.00262904819f,
     0.00202343939f, 0.00804122631f, 0.0163012501f, 0.030310994f, -0.341241837f, -0.254342526f, -0.193877473f, -0.15076068f},
    {0.0466227904f, 0.0273235962f, 0.0170610603f, 0.0112441918f, 0.00655668974f, 0.00366611383f, 0.00236254069f, 0.00174897304f,
     0.00144097791f, 0.00167204591f, 0.00259483908f, 0.00467496505f, 0.208862677f, 0.143571839f, 0.101238884f, 0.0730764121f},
    {-0.0177101418f, -0.00912420824f, -0.00503400341f, -0.00294228829f, -0.00143523409f, -0.000621972722f, -0.000291532953f,
     -0.000134708403f, -1.50723727e-05f, 9.06975692e-05f, 0.000229140656f, 0.000497276371f, -0.108143121f, -0.0692467093f, -0.0455340929f,
     -0.0306880437f},
    {0.00627007196f, 0.00288277445f, 0.00142915407f, 0.000756395457f, 0.000327329064f, 0.000123585458f, 5.47110831e-05f, 2.82519213e-05f,
     1.50063379e-05f, 1.37129373e-05f, 2.30354581e-05f, 4.83426884e-05f, 0.0499041192f, 0.0300276447f, 0.0185699873f, 0.0117827468f},
    {-0.00204250403f, -0.000847339863f, -0.000380473386f, -0.000183109732f, -6.91388414e-05f, -2.19503163e-05f, -8.07569631e-06f,
     -3.26285249e-06f, -8.0973075e-07f, 4.07084912e-07f, 1.53317137e-06f, 3.8134051e-06f, -0.0207999758f, -0.0118414797f, -0.00693199923f,
     -0.00416603545f}};

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
