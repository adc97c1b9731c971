// SPDX-License-Identifier: Apache-2.0
#include "kernel/fourier.h"

#include "kernel/region.h"

#pragma GCC push_options
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c")
#endif
namespace heed::kernel {
namespace {
namespace avx2 {

#include "kernel/vector_avx2.inl"

#include "kernel/fourier.inl"

}  // namespace avx2
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const FourierTable avx2_fourier = {avx2::pass, avx2::turn, avx2::part, avx2::join};
}
