// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"
#include "kernel/lists.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel {
namespace {
namespace avx2 {

#include "kernel/vector_avx2.inl"

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

#include "kernel/exp.inl"
#include "kernel/lists.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const ListTable avx2_lists = avx2::make_table();
}
