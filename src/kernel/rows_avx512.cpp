// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"
#include "kernel/rows.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel::avx512_loops {

constexpr int width = 16;
typedef float V __attribute__((vector_size(width * 4)));
typedef std::uint16_t S __attribute__((vector_size(width * 2)));
inline S half(V x) { return (S)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

#include "kernel/rows.inl"

}  // namespace heed::kernel::avx512_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const RowTable avx512_rows = {avx512_loops::rms_norm, avx512_loops::add,         avx512_loops::silu_mul, avx512_loops::rotate,
                                        avx512_loops::blend,    avx512_loops::log_sum_exp, avx512_loops::to_f16,   avx512_loops::to_bf16};
}
