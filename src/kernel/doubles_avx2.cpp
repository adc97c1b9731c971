// SPDX-License-Identifier: Apache-2.0
#include "kernel/doubles.h"

#include "kernel/region.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel {
namespace {
namespace avx2 {

constexpr int vector_bytes = 32;
#include "kernel/doubles.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const DoublesTable avx2_doubles = {avx2::product};
}
