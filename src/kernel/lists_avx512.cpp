// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"
#include "kernel/lists.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

#include "kernel/vector_avx512.inl"

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

#include "kernel/exp.inl"
#include "kernel/lists.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ListTable avx512_lists = avx512::make_table();
}
