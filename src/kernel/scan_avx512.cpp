// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <cstring>
#include <type_traits>

#include "kernel/scan.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel::scan_avx512_loops {

#include "kernel/vector_avx512.inl"

#include "kernel/exp.inl"
#include "kernel/scan.inl"

}  // namespace heed::kernel::scan_avx512_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const ScanTable scan_avx512 = scan_avx512_loops::make_table();
}
