// SPDX-License-Identifier: Apache-2.0
// g++ 12 warns about its own headers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>

#include "kernel/lists.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

using V = __m512;
constexpr int width = 16;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline __mmask16 first(int n) { return __mmask16((1u << n) - 1); }
inline V load_f32(const float* p) { return _mm512_loadu_ps(p); }
inline V load_f32_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline V load_f16(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline V load_bf16(const std::uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline void store_part(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
inline V plus(V a, V b) { return _mm512_add_ps(a, b); }
inline V minus(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V round(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole and small.
inline V scale_by(V x, V n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/// x == 0 ? a : b.
inline V if_zero(V x, V a, V b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, zero(), _CMP_EQ_OQ), b, a); }
/// The sums of the lanes of four vectors.
inline __m128 add_lanes(V a, V b, V c, V d) {
  const auto half = [](V x) { return _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)); };
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(half(a), half(b)), _mm256_hadd_ps(half(c), half(d)));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}
inline float max_lane(V x) { return _mm512_reduce_max_ps(x); }
/// from[index[i] * stride] for 16 lanes, and for the first n of them.
inline V gather_of(const float* from, std::int64_t stride, const std::int64_t* index) {
  const __m512i by = _mm512_set1_epi64(stride);
  const auto eight = [&](const std::int64_t* p) { return _mm512_i64gather_ps(_mm512_mul_epi32(_mm512_loadu_si512(p), by), from, 4); };
  return _mm512_insertf32x8(_mm512_castps256_ps512(eight(index)), eight(index + 8), 1);
}
inline V gather_part(const float* from, std::int64_t stride, const std::int64_t* index, int n) {
  const __m512i by = _mm512_set1_epi64(stride);
  const auto eight = [&](const std::int64_t* p, __mmask8 mask) {
    return _mm512_mask_i64gather_ps(_mm256_setzero_ps(), mask, _mm512_mul_epi32(_mm512_maskz_loadu_epi64(mask, p), by), from, 4);
  };
  const unsigned mask = first(n);
  return _mm512_insertf32x8(_mm512_castps256_ps512(eight(index, __mmask8(mask))), eight(index + 8, __mmask8(mask >> 8)), 1);
}

#include "kernel/lists.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ListTable avx512_lists = avx512::make_table();
}
