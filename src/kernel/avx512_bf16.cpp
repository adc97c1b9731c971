// SPDX-License-Identifier: Apache-2.0
// Products of pairs by VDPBF16PS.
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2,f16c")
namespace heed::kernel::avx512_bf16 {

#include "kernel/wide.inl"
#include "kernel/series.inl"
#include "kernel/micro.inl"
#include "kernel/pairs.inl"

struct Dot {
  static constexpr int pair = 2;
  static void step(V& c, V a, V b) { asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }
};

inline V mix_low(V a, V b) { return _mm512_castsi512_ps(_mm512_unpacklo_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b))); }
inline V mix_high(V a, V b) { return _mm512_castsi512_ps(_mm512_unpackhi_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b))); }
/// 32 floats as the words of mix_low and mix_high lie, quarters of four: even ones and odd ones.
inline void split(V a, V b, V& low, V& high) { low = _mm512_shuffle_f32x4(a, b, 0x88), high = _mm512_shuffle_f32x4(a, b, 0xdd); }
inline void join(V low, V high, V& a, V& b) {
  const V first = _mm512_shuffle_f32x4(low, high, 0x44), second = _mm512_shuffle_f32x4(low, high, 0xee);
  a = _mm512_shuffle_f32x4(first, first, 0xd8), b = _mm512_shuffle_f32x4(second, second, 0xd8);
}

#include "kernel/direct_pairs.inl"

}  // namespace heed::kernel::avx512_bf16
#pragma GCC pop_options

namespace heed::kernel {
constinit const Direct avx512_bf16_direct{avx512_bf16::direct_pair_score<avx512_bf16::Dot>,
                                          avx512_bf16::direct_pair_value<avx512_bf16::Dot>};
constinit const Products avx512_bf16_products{"bf16 by VDPBF16PS",
                                              2,
                                              1,
                                              avx512_bf16::micro_rows,
                                              avx512_bf16::score<avx512_bf16::Dot>,
                                              avx512_bf16::value<avx512_bf16::Dot>,
                                              avx512_bf16::exp2_pairs,
                                              avx512_bf16::narrow_pairs};
}  // namespace heed::kernel
