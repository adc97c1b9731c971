// SPDX-License-Identifier: Apache-2.0
#include "kernel/doubles.h"

#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

constexpr int vector_bytes = 64;
#include "kernel/doubles.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const DoublesTable avx512_doubles = {avx512::product};
}
