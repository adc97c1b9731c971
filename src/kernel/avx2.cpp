// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel::avx2 {

#include "kernel/vector_avx2.inl"

constexpr int panel_vectors = panel / width;
constexpr int wide_panels = 1;  // 6 x 16: 12 accumulators of 16 registers
constexpr int direct_rows = 4;

inline bool any_less(V a, V b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) != 0; }
inline V negative_abs(V x) { return _mm256_or_ps(x, _mm256_set1_ps(-0.0f)); }
struct Fma {
  static constexpr int pair = 1;
  static void step(V& c, V a, V b) { accumulate(c, a, b); }
};

template <int degree>
V exp2_series(V f);
constexpr bool exp2_floors = false;
/// Adding 3 * 2^22 rounds to a whole number, whose low bits then move into the exponent.
template <int degree>
inline V exp2_of(V x) {
  const V magic = set1(12582912.0f), t = add(x, magic), f = sub(x, sub(t, magic)), y = exp2_series<degree>(f);
  const __m256i bits = _mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(_mm256_castps_si256(t), 23));
  return _mm256_and_ps(_mm256_castsi256_ps(bits), _mm256_cmp_ps(x, set1(-126.0f), _CMP_NLT_UQ));
}

inline void to_half(std::uint16_t* p, V x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
/// To nearest even; NaN stays NaN and quiet.
inline void to_brain(std::uint16_t* p, V x) {
  const __m256i bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i up = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff)), 16);
  const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
  const __m256i all = _mm256_blendv_epi8(up, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
}

void mask_row(float* x, const std::uint8_t* keep, std::int64_t n) {
  const V low = set1(-__builtin_inff());
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const __m256i k = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(keep + i)));
    store(x + i, _mm256_blendv_ps(load(x + i), low, _mm256_castsi256_ps(_mm256_cmpeq_epi32(k, _mm256_setzero_si256()))));
  }
  for (; i < n; ++i)
    if (!keep[i]) x[i] = -__builtin_inff();
}

/// to[i] = the sum of the i-th vector.
inline void sum_four(V a, V b, V c, V d, float* to) {
  const V all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#include "kernel/series.inl"
#include "kernel/micro.inl"
#include "kernel/shuffle.inl"
#include "kernel/direct.inl"
#include "kernel/loops.inl"

constinit const Products strict = make_strict("f32"), brief = make_brief("f32, weights to 16 bits");

}  // namespace heed::kernel::avx2
#pragma GCC pop_options

namespace heed::kernel {
constinit const Table avx2_table = avx2::make_table("avx2", &avx2::strict, &avx2::brief);
}
