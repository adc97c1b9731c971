// SPDX-License-Identifier: Apache-2.0
#include "kernel/elementwise.h"
#include "kernel/region.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel {
namespace {
namespace avx2 {

#include "kernel/vector_avx2.inl"

using D = __m256d;
using I = __m256i;
using M = __m256;  // of lanes: all bits or none

inline V sqrt(V x) { return _mm256_sqrt_ps(x); }
inline V two_to(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
/// x * 2^n, n whole and |n| < 254: in two steps, so that the exponent of each is one of f32's and only the last rounds.
inline V scale_far(V x, V n) {
  const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
  return mul(mul(x, two_to(half)), two_to(_mm256_sub_epi32(whole, half)));
}
/// Of x in [1, 16): the half of an octave that x lies in is the last three bits, 6 at 1.
inline I octave_part(V x) { return _mm256_srli_epi32(_mm256_castps_si256(x), 22); }
/// table[the last three bits of i].
inline V pick(I i, const float* table) { return _mm256_permutevar8x32_ps(load(table), i); }
/// x * 2^n, t being n + 3 * 2^22, where the exponent stays one of f32's.
inline V scale_by_last(V x, V t) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
/// x where it is NaN, else y.
inline V keep_nan(V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)); }
/// x = m 2^e, m in [3/4, 3/2), for positive x that is neither infinite nor NaN.
inline V parts_of(V x, V& e) {
  const M small = _mm256_cmp_ps(x, set1(0x1p-126f), _CMP_LT_OQ);
  const __m256i bits = _mm256_castps_si256(_mm256_blendv_ps(x, mul(x, set1(0x1p24f)), small));
  const __m256i up = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f400000)), 23);
  e = sub(_mm256_cvtepi32_ps(up), _mm256_and_ps(small, set1(24)));
  return _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(up, 23)));
}
/// ln x, y for the x that parts_of() takes.
inline V log_strange(V x, V y) {
  const V inf = set1(__builtin_inff());
  y = _mm256_blendv_ps(y, _mm256_sub_ps(zero(), inf), _mm256_cmp_ps(x, zero(), _CMP_EQ_OQ));
  y = _mm256_blendv_ps(y, _mm256_mul_ps(zero(), inf), _mm256_cmp_ps(x, zero(), _CMP_LT_OQ));
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, inf, _CMP_NLT_UQ));
}
/// Of a turn of n + quarter quarters.
inline V turned(V sine, V cosine, V n, int quarter) {
  const __m256i k = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(quarter));
  const V y = _mm256_blendv_ps(sine, cosine, _mm256_castsi256_ps(_mm256_slli_epi32(k, 31)));
  const __m256i sign = _mm256_and_si256(_mm256_slli_epi32(k, 30), _mm256_set1_epi32(int(0x80000000u)));
  return _mm256_xor_ps(y, _mm256_castsi256_ps(sign));
}

inline M less_than(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
inline M not_less(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_NLT_UQ); }
inline M equal_to(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
inline M unordered(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
inline M either(M a, M b) { return _mm256_or_ps(a, b); }
inline bool some(M m) { return _mm256_movemask_ps(m) != 0; }
inline V choice(M m, V x, V y) { return _mm256_blendv_ps(y, x, m); }
inline M load_mask(const std::uint8_t* p) {
  const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_setzero_si256(), wide));
}
inline void store_mask(std::uint8_t* p, M m) {
  const __m256i bits = _mm256_castps_si256(m);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_and_si128(_mm_packs_epi16(words, words), _mm_set1_epi8(1)));
}

inline D low_half(V x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
inline D high_half(V x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
inline D plus(D a, D b) { return _mm256_add_pd(a, b); }
inline D minus(D a, D b) { return _mm256_sub_pd(a, b); }
inline D times(D a, D b) { return _mm256_mul_pd(a, b); }
inline D over(D a, D b) { return _mm256_div_pd(a, b); }
inline D times_plus(D a, D b, D c) { return _mm256_fmadd_pd(a, b, c); }
inline D all(double x) { return _mm256_set1_pd(x); }
inline D within(D x, double low, double high) { return _mm256_min_pd(all(high), _mm256_max_pd(all(low), x)); }
inline D round(D x) { return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x 2^n, n whole, where the exponent stays one of f64's.
inline D scale_by(D x, D n) {
  return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(x), _mm256_slli_epi64(_mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n)), 52)));
}
/// x = m 2^e, m in [3/4, 3/2), for positive x that is neither denormal, infinite nor NaN.
inline D parts_of(D x, D& e) {
  const __m256i bits = _mm256_castpd_si256(x), from = _mm256_sub_epi64(bits, _mm256_set1_epi64x(0x3fe8000000000000));
  // The upper halves hold the exponent: shift there, sign along, and take them together.
  const __m256i up = _mm256_srai_epi32(from, 20);
  const __m128i whole = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(up, _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7)));
  e = _mm256_cvtepi32_pd(whole);
  return _mm256_castsi256_pd(_mm256_sub_epi64(bits, _mm256_slli_epi64(_mm256_cvtepi32_epi64(whole), 52)));
}
/// To f32.
inline V join(D low, D high) { return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1); }
inline D load(const double* p) { return _mm256_loadu_pd(p); }
inline void store(double* p, D x) { _mm256_storeu_pd(p, x); }
inline __m256i first_wide(int n) { return _mm256_cvtepi32_epi64(_mm256_castsi256_si128(first(n))); }
inline D load_part(const double* p, int n) { return _mm256_maskload_pd(p, first_wide(n)); }
inline void store_part(double* p, D x, int n) { _mm256_maskstore_pd(p, first_wide(n), x); }
inline float most(V x) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
inline float least(V x) {
  __m128 four = _mm_min_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
}

#include "kernel/four.inl"

/// Eight f64 lanes, and what 64 f32 numbers leave of them.
struct Eight {
  D low, high;
};
inline Eight eight_zeros() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline Eight plus(const Eight& a, const Eight& b) { return {plus(a.low, b.low), plus(a.high, b.high)}; }
inline Eight eight_of(const Four* x) {
  const V even = add(add(x[0].v[0], x[0].v[2]), add(x[1].v[0], x[1].v[2])), odd = add(add(x[0].v[1], x[0].v[3]), add(x[1].v[1], x[1].v[3]));
  const V all = add(even, odd);
  return {low_half(all), high_half(all)};
}
inline double total_of(const Eight& x) {
  const D four = plus(x.low, x.high);
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/// For gelu_of(), a = |x|: the centre of the half of an octave that 1 + a lies in, those from 1.0 standing at 6, and a polynomial around
/// it for 2^(47/64 a^2) times the share of the normal distribution beyond a.
alignas(32) constexpr float gelu_centre[8] = {1.5f, 2.5f, 4.0f, 6.0f, 9.0f, 13.0f, 0.25f, 0.75f};
alignas(32) constexpr float gelu_terms[8][8] = {
    {0.210004359f, 0.149537057f, 0.109085627f, 0.0896636024f, 0.0910157859f, 0.140344292f, 0.414265841f, 0.301761329f},
    {-0.0864351243f, -0.0415107384f, -0.0167301856f, -0.00449421536f, 0.00491632754f, 0.0222783126f, -0.293730646f, -0.170565471f},
    {0.035386961f, 0.0137643544f, 0.00481370278f, 0.00199770345f, 0.00147867575f, 0.00343670207f, 0.172593221f, 0.0857727826f},
    {-0.0125943311f, -0.0038233127f, -0.000931740622f, -0.000200281502f, 3.88203007e-05f, 0.000338531798f, -0.0862387717f, -0.0372706838f},
    {0.00417083176f, 0.00102559745f, 0.000193862943f, 3.8228045e-05f, 1.273621e-05f, 3.25867186e-05f, 0.0384328701f, 0.0147028295f},
    {-0.0012930925f, -0.000260462926f, -3.75401578e-05f, -5.04227046e-06f, -8.3866091e-08f, 2.41623252e-06f, -0.0156058753f,
     -0.00534662744f},
    {0.000393119291f, 6.5120119e-05f, 7.65251116e-06f, 7.8832187e-07f, 9.83011503e-08f, 1.72749751e-07f, 0.00594530953f, 0.00183650386f},
    {-0.000108560176f, -1.51839586e-05f, -1.4102817e-06f, -1.09814593e-07f, -5.04310504e-09f, 7.03621605e-09f, -0.00207497412f,
     -0.000584538036f}};

#include "kernel/functions.inl"

#include "kernel/elementwise.inl"

#include "kernel/folds.inl"

#include "kernel/columns.inl"

#include "kernel/named_rows.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ElementTable elements_avx2 = avx2::make_table();
}
