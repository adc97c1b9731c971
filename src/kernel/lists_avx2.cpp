// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include <cstdint>

#include "kernel/lists.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace heed::kernel {
namespace {
namespace avx2 {

using V = __m256;
constexpr int width = 8;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline __m256i first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
inline V load_f32(const float* p) { return _mm256_loadu_ps(p); }
inline V load_f32_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline V load_f16(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V load_bf16(const std::uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline void store_part(float* p, V x, int n) { _mm256_maskstore_ps(p, first(n), x); }
inline V plus(V a, V b) { return _mm256_add_ps(a, b); }
inline V minus(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole and small.
inline V scale_by(V x, V n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
/// x == 0 ? a : b.
inline V if_zero(V x, V a, V b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, zero(), _CMP_EQ_OQ)); }
/// The sums of the lanes of four vectors.
inline __m128 add_lanes(V a, V b, V c, V d) {
  const V pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}
inline float max_lane(V x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)), two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// from[index[i] * stride] for 8 lanes, and for the first n of them.
inline V gather_of(const float* from, std::int64_t stride, const std::int64_t* index) {
  const __m256i by = _mm256_set1_epi64x(stride);
  const auto four = [&](const std::int64_t* p) {
    return _mm256_i64gather_ps(from, _mm256_mul_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), by), 4);
  };
  return _mm256_insertf128_ps(_mm256_castps128_ps256(four(index)), four(index + 4), 1);
}
inline V gather_part(const float* from, std::int64_t stride, const std::int64_t* index, int n) {
  const __m256i by = _mm256_set1_epi64x(stride), lane = _mm256_setr_epi64x(0, 1, 2, 3);
  const auto four = [&](const std::int64_t* p, int count) {
    const __m256i mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), lane);
    const __m256i at = _mm256_mul_epi32(_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), mask), by);
    const __m128 lanes =
        _mm256_castps256_ps128(_mm256_permutevar8x32_ps(_mm256_castsi256_ps(mask), _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0)));
    return _mm256_mask_i64gather_ps(_mm_setzero_ps(), from, at, lanes, 4);
  };
  return _mm256_insertf128_ps(_mm256_castps128_ps256(four(index, n)), n > 4 ? four(index + 4, n - 4) : _mm_setzero_ps(), 1);
}

#include "kernel/lists.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ListTable avx2_lists = avx2::make_table();
}
