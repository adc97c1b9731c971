// SPDX-License-Identifier: Apache-2.0
// AVX-512 vectors: what the other .inl files need. No system headers here: this is inside a namespace and a target region.
#include "kernel/vector_avx512.inl"

constexpr int panel_vectors = panel / width;
constexpr int wide_panels = 4;  // 6 x 64: 24 accumulators of 32 registers
constexpr int direct_rows = 6;

inline bool any_less(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) != 0; }
inline V negative_abs(V x) { return _mm512_or_ps(x, _mm512_set1_ps(-0.0f)); }
struct Fma {
  static constexpr int pair = 1;
  static void step(V& c, V a, V b) { accumulate(c, a, b); }
};

template <int degree>
V exp2_series(V f);
constexpr bool exp2_floors = true;
/// 2^x = 2^(x - floor x) 2^floor x; VSCALEFPS takes the floor itself.
template <int degree>
inline V exp2_of(V x) {
  const V f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ), exp2_series<degree>(f), x);
}

inline void to_half(std::uint16_t* p, V x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// To nearest even; NaN stays NaN and quiet.
inline void to_brain(std::uint16_t* p, V x) {
  const __m512i bits = _mm512_castps_si512(x), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i up = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff)), 16);
  up = _mm512_mask_or_epi32(up, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(up));
}

void mask_row(float* x, const std::uint8_t* keep, std::int64_t n) {
  std::int64_t i = 0;
  const V low = _mm512_set1_ps(-__builtin_inff());
  for (; i + width <= n; i += width) {
    const __m128i k = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keep + i));
    _mm512_mask_storeu_ps(x + i, _mm_cmpeq_epi8_mask(k, _mm_setzero_si128()), low);
  }
  for (; i < n; ++i)
    if (!keep[i]) x[i] = -__builtin_inff();
}

/// to[i] = the sum of the i-th vector.
inline void sum_four(V a, V b, V c, V d, float* to) {
  const V ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const V cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const V all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
