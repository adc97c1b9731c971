// SPDX-License-Identifier: Apache-2.0
#include "kernel/fourier.h"

#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel {
namespace {
namespace avx512 {

#include "kernel/vector_avx512.inl"

#include "kernel/fourier.inl"

}  // namespace avx512
}  // namespace
}  // namespace heed::kernel
#pragma GCC pop_options

namespace heed::kernel {
constinit const FourierTable avx512_fourier = {avx512::pass, avx512::turn, avx512::part, avx512::join};
}
