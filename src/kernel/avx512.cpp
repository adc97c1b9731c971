// SPDX-License-Identifier: Apache-2.0
#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,avx2,f16c")
namespace heed::kernel::avx512 {

#include "kernel/wide.inl"
#include "kernel/series.inl"
#include "kernel/micro.inl"
#include "kernel/shuffle.inl"
#include "kernel/direct.inl"
#include "kernel/loops.inl"

constinit const Products strict = make_strict("f32"), brief = make_brief("f32, weights to 16 bits");

}  // namespace heed::kernel::avx512
#pragma GCC pop_options

namespace heed::kernel {
constinit const Table avx512_table = avx512::make_table("avx512", &avx512::strict, &avx512::brief);
}
