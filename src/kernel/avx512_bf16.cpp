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

}  // namespace heed::kernel::avx512_bf16
#pragma GCC pop_options

namespace heed::kernel {
constinit const Products avx512_bf16_products{"bf16 by VDPBF16PS",
                                              2,
                                              1,
                                              avx512_bf16::micro_rows,
                                              avx512_bf16::score<avx512_bf16::Dot>,
                                              avx512_bf16::value<avx512_bf16::Dot>,
                                              avx512_bf16::exp2_pairs,
                                              avx512_bf16::narrow_pairs};
}
