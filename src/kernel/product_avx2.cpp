// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <cstring>
#include <type_traits>

#include "kernel/product_loops.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::product::avx2 {

#include "kernel/vector_avx2.inl"

using I = __m256i;
constexpr int wide_panels = 1, few_panels = 4;  // 6 x 16: 12 accumulators of 16 registers
constexpr int dot_vectors = 1;                  // 6 x 8 sums and 6 x 8 integers

/// 8 rows x 4 numbers, turned: 128 bits of rows i and i + 4 side by side, then 4 x 4 within the halves.
inline void turn(const float* p, std::int64_t ld, V* to) {
  turn([=](int i) HEED_INLINE { return _mm_loadu_ps(p + i * ld); }, to);
}

inline I load_int(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
template <int N>
inline I shift_left(I x) {
  return _mm256_slli_epi32(x, N);
}
template <int N>
inline I shift_right(I x) {
  return _mm256_srli_epi32(x, N);
}
inline I and_int(I x, int mask) { return _mm256_and_si256(x, _mm256_set1_epi32(mask)); }
inline I add_int(I x, int y) { return _mm256_add_epi32(x, _mm256_set1_epi32(y)); }
inline I add_ints(I x, I y) { return _mm256_add_epi32(x, y); }
inline I max_int(I x, I y) { return _mm256_max_epi32(x, y); }
inline V to_float(I x) { return _mm256_cvtepi32_ps(x); }
inline I to_int(V x) { return _mm256_cvtps_epi32(x); }
inline V as_float(I x) { return _mm256_castsi256_ps(x); }
inline std::int32_t largest(I x) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
inline std::int32_t total(I x) {
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
inline void store_bytes(std::int8_t* p, I x) {
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
}

inline I broadcast(const std::int8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}
/// 4-bit codes: pairs summed in 16 bits, at most 8 * 2 * 15 * 127 = 30,480. 8-bit codes: signed, |w| times x with w's sign.
template <int bits>
struct Codes {
  I x;
};
template <>
struct Codes<8> {
  I x, magnitude;
};
template <int bits>
inline Codes<bits> prepare(I x) {
  if constexpr (bits == 4) {
    return {_mm256_and_si256(x, _mm256_set1_epi8(15))};
  } else {
    const I w = _mm256_xor_si256(x, _mm256_set1_epi8(char(0x80)));
    return {w, _mm256_abs_epi8(w)};
  }
}
template <int bits>
inline I dot_start(const std::int32_t*) {
  return _mm256_setzero_si256();
}
inline void dot_add(I& d, const Codes<4>& w, I x) { d = _mm256_add_epi16(d, _mm256_maddubs_epi16(w.x, x)); }
inline void dot_add(I& d, const Codes<8>& w, I x) {
  const I pairs = _mm256_maddubs_epi16(w.magnitude, _mm256_sign_epi8(x, w.x));
  d = _mm256_add_epi32(d, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
template <int bits>
inline V dot_end(I d) {
  return _mm256_cvtepi32_ps(bits == 4 ? _mm256_madd_epi16(d, _mm256_set1_epi16(1)) : d);
}

#include "kernel/product.inl"
#include "kernel/turned.inl"
#include "kernel/quantised.inl"
#include "kernel/dots.inl"
#include "kernel/product_table.inl"

}  // namespace heed::product::avx2
#pragma GCC pop_options

namespace heed::product {
constinit const Loops avx2_loops = avx2::make_loops();
}
