// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#include <cstring>
#include <type_traits>

#include "kernel/scan.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel::scan_avx2_loops {

#include "kernel/vector_avx2.inl"

#include "kernel/exp.inl"
#include "kernel/scan.inl"

}  // namespace heed::kernel::scan_avx2_loops
#pragma GCC pop_options

namespace heed::kernel {
constinit const ScanTable scan_avx2 = scan_avx2_loops::make_table();
}
