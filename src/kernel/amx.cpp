// SPDX-License-Identifier: Apache-2.0
// Products of pairs by TDPBF16PS; weights become pairs by VCVTNE2PS2BF16.
#include "kernel/amx.h"

#include "kernel/region.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,avx2,f16c")
namespace heed::kernel::amx_weights {

#include "kernel/wide.inl"
#include "kernel/series.inl"
#include "kernel/pairs.inl"

}  // namespace heed::kernel::amx_weights

namespace heed::kernel::amx {

struct alignas(64) Config {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Config) == 64);

/// Inline assembly because g++ 12's intrinsics lose stores (docs/adr).
struct Hardware {
  Hardware() {
    const Config config;
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  ~Hardware() { asm volatile("tilerelease"); }
  Hardware(const Hardware&) = delete;
  Hardware& operator=(const Hardware&) = delete;
  template <int T>
  void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(T));
  }
  /// Rows stand `stride` words apart.
  template <int T>
  void load(const float* p, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride * 4), "i"(T) : "memory");
  }
  template <int T>
  void store(float* p, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride * 4), "i"(T) : "memory");
  }
  /// Two panels of a row into its lanes.
  static void raise(float* lanes, const float* c) {
    amx_weights::store(lanes,
                       amx_weights::max(amx_weights::load(c), amx_weights::max(amx_weights::load(c + panel), amx_weights::load(lanes))));
  }
  /// C += A B.
  template <int C, int A, int B>
  void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

}  // namespace heed::kernel::amx
#pragma GCC pop_options

namespace heed::kernel {
constinit const Products amx_products{
    "bf16 by TDPBF16PS",      2, 16, amx::group, amx::score<amx::Hardware>, amx::value<amx::Hardware>, amx_weights::exp2_pairs,
    amx_weights::narrow_pairs};
}
