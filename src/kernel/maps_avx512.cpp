// SPDX-License-Identifier: Apache-2.0
// g++ 12 warns about its own headers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "kernel/maps.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2")
namespace heed::kernel {
namespace {
namespace avx512 {

using V = __m512;
constexpr int width = 16;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline __mmask16 first(int n) { return __mmask16((1u << n) - 1); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline V load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline V keep_part(V x, int n) { return _mm512_maskz_mov_ps(first(n), x); }
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline void store_part(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
inline V plus(V a, V b) { return _mm512_add_ps(a, b); }
inline V minus(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
/// NaN where either is.
inline V larger(V a, V b) { return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
inline float lanes(V x) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
/// Every second element of a and b, from the first on.
inline V evens(V a, V b) {
  return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
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

#include "kernel/maps.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const MapTable avx512_maps = avx512::make_table();
}
