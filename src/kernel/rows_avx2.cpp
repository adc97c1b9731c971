// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"
#include "kernel/rows.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel::avx2_loops {

constexpr int width = 8;
typedef float V __attribute__((vector_size(width * 4)));
typedef std::uint16_t S __attribute__((vector_size(width * 2)));
inline S half(V x) { return (S)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

#include "kernel/rows.inl"

}  // namespace heed::kernel::avx2_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const RowTable avx2_rows = {avx2_loops::rms_norm, avx2_loops::add,         avx2_loops::silu_mul, avx2_loops::rotate,
                                      avx2_loops::blend,    avx2_loops::log_sum_exp, avx2_loops::to_f16,   avx2_loops::to_bf16};
}
