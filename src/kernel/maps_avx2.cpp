// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <type_traits>

#include "kernel/maps.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel {
namespace {
namespace avx2 {

#include "kernel/vector_avx2.inl"

/// NaN where either is.
inline V larger(V a, V b) { return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
inline float lanes(V x) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
/// Every second element of a and b, from the first on, or the second.
inline V evens(V a, V b) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xd8)); }
inline V odds(V a, V b) { return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8)); }
inline V floor(V x) { return _mm256_floor_ps(x); }
/// Elements of a and b in turn.
inline void interleave(V a, V b, V& low, V& high) {
  const V x = _mm256_unpacklo_ps(a, b), y = _mm256_unpackhi_ps(a, b);
  low = _mm256_permute2f128_ps(x, y, 0x20), high = _mm256_permute2f128_ps(x, y, 0x31);
}
/// Of whole numbers.
inline void store_whole(std::int32_t* p, V x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(x)); }
/// Single loads: gathers are slower here.
inline __m128 four(const float* x, const std::int32_t* index) {
  const __m128 two = _mm_insert_ps(_mm_load_ss(x + index[0]), _mm_load_ss(x + index[1]), 0x10);
  return _mm_insert_ps(_mm_insert_ps(two, _mm_load_ss(x + index[2]), 0x20), _mm_load_ss(x + index[3]), 0x30);
}
inline __m256 eight(const float* x, const std::int32_t* index) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(four(x, index)), four(x, index + 4), 1);
}
/// 0 where the weight is.
inline V gather(const float* x, const std::int32_t* index, V weight) {
  return _mm256_and_ps(eight(x, index), _mm256_cmp_ps(weight, zero(), _CMP_NEQ_UQ));
}

using Mask = __m256i;
inline Mask mask_of(std::uint32_t lanes) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(int(lanes)), bits), bits);
}
/// 0 in the other lanes, whose memory is not touched.
inline V load_where(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask); }
inline V either(V a, V b) { return _mm256_or_ps(a, b); }
inline __m128 load_four(const float* p, unsigned lanes) { return _mm_maskload_ps(p, _mm256_castsi256_si128(mask_of(lanes))); }

#include "kernel/panels.inl"
template <int N>
using Count = std::integral_constant<int, N>;
#include "kernel/windows.inl"
#include "kernel/depthwise.inl"
#include "kernel/lanes.inl"
#include "kernel/points.inl"
#include "kernel/maps.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const MapTable avx2_maps = avx2::make_table();
}
