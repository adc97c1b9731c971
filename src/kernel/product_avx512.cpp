// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <cstring>
#include <type_traits>

#include "kernel/product_loops.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::product::avx512 {

#include "kernel/vector_avx512.inl"

using I = __m512i;
constexpr int wide_panels = 4, few_panels = 4;  // 6 x 64: 24 accumulators of 32 registers
constexpr int dot_vectors = 2;                  // 6 x 32 sums and 6 x 32 integers

/// 16 rows x 4 numbers, turned: 128 bits of rows i, i + 4, i + 8, i + 12 side by side, then 4 x 4 within the quarters.
inline void turn(const float* p, std::int64_t ld, V* to) {
  turn([=](int i) HEED_INLINE { return _mm_loadu_ps(p + i * ld); }, to);
}

inline I load_int(const void* p) { return _mm512_loadu_si512(p); }
template <int N>
inline I shift_left(I x) {
  return _mm512_slli_epi32(x, N);
}
template <int N>
inline I shift_right(I x) {
  return _mm512_srli_epi32(x, N);
}
inline I and_int(I x, int mask) { return _mm512_and_si512(x, _mm512_set1_epi32(mask)); }
inline I add_int(I x, int y) { return _mm512_add_epi32(x, _mm512_set1_epi32(y)); }
inline I add_ints(I x, I y) { return _mm512_add_epi32(x, y); }
inline I max_int(I x, I y) { return _mm512_max_epi32(x, y); }
inline V to_float(I x) { return _mm512_cvtepi32_ps(x); }
inline I to_int(V x) { return _mm512_cvtps_epi32(x); }
inline V as_float(I x) { return _mm512_castsi512_ps(x); }
inline std::int32_t largest(I x) { return _mm512_reduce_max_epi32(x); }
inline std::int32_t total(I x) { return _mm512_reduce_add_epi32(x); }
inline void store_bytes(std::int8_t* p, I x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x)); }
inline I broadcast(const std::int8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

#include "kernel/product.inl"
#include "kernel/turned.inl"
#include "kernel/quantised.inl"

// Unsigned weights times signed rows, four at a time (VNNI).
template <int bits>
struct Codes {
  I x;
};
template <int bits>
inline Codes<bits> prepare(I x) {
  return {bits == 4 ? and_int(x, 0x0f0f0f0f) : x};
}
template <int bits>
inline I dot_start(const std::int32_t* minus) {
  return bits == 4 ? _mm512_setzero_si512() : _mm512_set1_epi32(*minus);
}
template <int bits>
inline void dot_add(I& d, const Codes<bits>& w, I x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(d) : "v"(w.x), "v"(x));
}
template <int bits>
inline V dot_end(I d) {
  return _mm512_cvtepi32_ps(d);
}

#include "kernel/dots.inl"
#include "kernel/product_table.inl"

}  // namespace heed::product::avx512

/// Pairs of bf16 stand in the place of floats; the product is the same loop around another instruction.
namespace heed::product::avx512_bf16 {

using avx512::V, avx512::width, avx512::wide_panels, avx512::few_panels;
using avx512::zero, avx512::set1, avx512::load, avx512::store, avx512::add, avx512::pin;
inline void accumulate(V& c, V a, V b) { asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }

#include "kernel/product.inl"

inline __m256i to_bf16(V x) {
  __m256i y;
  asm("vcvtneps2bf16 %1, %0" : "=v"(y) : "v"(x));
  return y;
}
/// Denormals become zero.
void round(const float* x, std::int64_t n, std::uint16_t* to) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), to_bf16(load(x + i)));
  if (i < n) {
    const __mmask16 mask = __mmask16((1u << (n - i)) - 1);
    _mm256_mask_storeu_epi16(to + i, mask, to_bf16(_mm512_maskz_loadu_ps(mask, x + i)));
  }
}

}  // namespace heed::product::avx512_bf16
#pragma GCC pop_options

namespace heed::product {
static constexpr Loops without_vnni(Loops loops) {
  for (Dots& dots : loops.dots) dots = nullptr;
  return loops;
}
static constexpr Loops with_bf16(Loops loops) {
  loops.bf16 = avx512_bf16::multiply;
  loops.round = avx512_bf16::round;
  return loops;
}
constinit const Loops avx512_loops = without_vnni(avx512::make_loops());
constinit const Loops vnni_loops = avx512::make_loops();
constinit const Loops avx512_bf16_loops = with_bf16(avx512::make_loops());
}  // namespace heed::product
