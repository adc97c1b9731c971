// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <type_traits>

#include "kernel/maps.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

#include "kernel/vector_avx512.inl"

/// NaN where either is.
inline V larger(V a, V b) { return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
inline float lanes(V x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
/// Every second element of a and b, from the first on, or the second.
inline V evens(V a, V b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
inline V odds(V a, V b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}
inline V floor(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
/// Elements of a and b in turn.
inline void interleave(V a, V b, V& low, V& high) {
  low = _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
  high = _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}
/// Of whole numbers.
inline void store_whole(std::int32_t* p, V x) { _mm512_storeu_si512(p, _mm512_cvtps_epi32(x)); }
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
  const V all = _mm512_insertf32x8(_mm512_castps256_ps512(eight(x, index)), eight(x, index + 8), 1);
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(weight, zero(), _CMP_NEQ_UQ), all);
}

using Mask = __mmask16;
inline Mask mask_of(std::uint32_t lanes) { return Mask(lanes); }
/// 0 in the other lanes, whose memory is not touched.
inline V load_where(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
inline V either(V a, V b) { return _mm512_or_ps(a, b); }
inline __m128 load_four(const float* p, unsigned lanes) { return _mm_maskz_loadu_ps(__mmask8(lanes), p); }

#include "kernel/panels.inl"
template <int N>
using Count = std::integral_constant<int, N>;
#include "kernel/windows.inl"
#include "kernel/depthwise.inl"
#include "kernel/lanes.inl"
#include "kernel/points.inl"
#include "kernel/maps.inl"

}  // namespace avx512

/// Pairs of bf16 stand in the place of floats.
namespace avx512_bf16 {

using avx512::mask_of, avx512::load_where;
using avx512::V, avx512::width, avx512::Mask, avx512::Count;
using avx512::zero, avx512::set1, avx512::load, avx512::store, avx512::load_part, avx512::store_part, avx512::add, avx512::pin;
inline void accumulate(V& c, V a, V b) { asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }

#include "kernel/windows.inl"

}  // namespace avx512_bf16
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
static constexpr MapTable with_pairs(MapTable table) {
  table.paired_windows = avx512_bf16::windows;
  return table;
}
constinit const MapTable avx512_maps = avx512::make_table();
constinit const MapTable avx512_bf16_maps = with_pairs(avx512::make_table());
}  // namespace heed::kernel
