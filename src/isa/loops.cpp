// SPDX-License-Identifier: Apache-2.0
#include "isa/loops.h"

#include <cstdint>

namespace heed::isa {

#if defined(__x86_64__)
namespace {

// Twelve accumulators, registers 0 to 11; 12 and 13 are the operands, filled with the 32-bit pattern `a`.
// Each round does every accumulator twice. BODY sees the accumulator's number as \r.
#define HEED_LOOP(WIDTH, BODY, SETUP)                                                                                                      \
  asm volatile("vmovd %1, %%xmm12\n vpbroadcastd %%xmm12, %%" WIDTH                                                                        \
               "12\n"                                                                                                                      \
               "vpbroadcastd %%xmm12, %%" WIDTH "13\n" SETUP                                                                               \
               ".irp r,0,1,2,3,4,5,6,7,8,9,10,11\n vpxor %%xmm\\r, %%xmm\\r, %%xmm\\r\n.endr\n"                                            \
               ".p2align 5\n 1:\n"                                                                                                         \
               ".rept 2\n .irp r,0,1,2,3,4,5,6,7,8,9,10,11\n" BODY                                                                         \
               "\n.endr\n.endr\n"                                                                                                          \
               "dec %0\n jnz 1b\n vzeroupper\n"                                                                                            \
               : "+r"(rounds)                                                                                                              \
               : "r"(a)                                                                                                                    \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
                 "xmm14", "xmm15")

constexpr std::uint32_t one_f32 = 0x3f800000, one_bf16 = 0x3f803f80, ones_i8 = 0x01010101;
constexpr double in_a_round = 12 * 2 * 2;  // accumulators, repeats, a multiplication and an addition

void run_fma_avx2(long rounds) {
  const std::uint32_t a = one_f32;
  HEED_LOOP("ymm", "vfmadd231ps %%ymm12, %%ymm13, %%ymm\\r", "");
}

void run_fma_avx512(long rounds) {
  const std::uint32_t a = one_f32;
  HEED_LOOP("zmm", "vfmadd231ps %%zmm12, %%zmm13, %%zmm\\r", "");
}

void run_vdp_avx512(long rounds) {
  const std::uint32_t a = one_bf16;
  HEED_LOOP("zmm", "vdpbf16ps %%zmm12, %%zmm13, %%zmm\\r", "");
}

void run_int8_vnni(long rounds) {
  const std::uint32_t a = ones_i8;
  HEED_LOOP("zmm", "vpdpbusd %%zmm12, %%zmm13, %%zmm\\r", "");
}

void run_int8_avx2(long rounds) {
  const std::uint32_t a = ones_i8;
  HEED_LOOP("ymm",
            "vpmaddubsw %%ymm12, %%ymm13, %%ymm15\n vpmaddwd %%ymm14, %%ymm15, %%ymm15\n"
            "vpaddd %%ymm15, %%ymm\\r, %%ymm\\r",
            "vpcmpeqw %%ymm14, %%ymm14, %%ymm14\n vpsrlw $15, %%ymm14, %%ymm14\n");
}
#undef HEED_LOOP

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// There are eight tiles: six accumulators, two operands.
void run_tdp_amx(long rounds) {
  const TileConfig config;
  alignas(64) std::uint32_t ones[16 * 16];
  for (auto& pair : ones) pair = one_bf16;
  asm volatile(
      "ldtilecfg %1\n"
      ".irp r,0,1,2,3,4,5\n tilezero %%tmm\\r\n.endr\n"
      "tileloadd (%2,%3,1), %%tmm6\n tileloadd (%2,%3,1), %%tmm7\n"
      "1:\n .irp r,0,1,2,3,4,5\n tdpbf16ps %%tmm7, %%tmm6, %%tmm\\r\n.endr\n"
      "dec %0\n jnz 1b\n tilerelease\n"
      : "+r"(rounds)
      : "m"(config), "r"(ones), "r"(std::int64_t{64})
      : "cc", "memory");
}

}  // namespace

constinit const Loop fma_avx2{run_fma_avx2, in_a_round * 8};
constinit const Loop fma_avx512{run_fma_avx512, in_a_round * 16};
constinit const Loop vdp_avx512{run_vdp_avx512, in_a_round * 32};
constinit const Loop int8_avx2{run_int8_avx2, in_a_round * 32};
constinit const Loop int8_vnni{run_int8_vnni, in_a_round * 64};
constinit const Loop tdp_amx{run_tdp_amx, 6.0 * 16 * 16 * 32 * 2};

void read_avx2(const void* from, std::size_t bytes) {
  const void* end = static_cast<const char*>(from) + bytes;
  asm volatile(
      "1:\n"
      ".irp r,0,1,2,3,4,5,6,7\n vpaddq 32*\\r(%0), %%ymm\\r, %%ymm\\r\n.endr\n"
      ".irp r,0,1,2,3,4,5,6,7\n vpaddq 256+32*\\r(%0), %%ymm\\r, %%ymm\\r\n.endr\n"
      "add $512, %0\n cmp %1, %0\n jb 1b\n vzeroupper\n"
      : "+r"(from)
      : "r"(end)
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}

#else

constinit const Loop fma_avx2{}, fma_avx512{}, vdp_avx512{}, tdp_amx{}, int8_avx2{}, int8_vnni{};
void read_avx2(const void* from, std::size_t bytes) {
  typedef std::uint64_t Words __attribute__((vector_size(32)));
  Words sums[4]{};
  for (const auto *p = static_cast<const Words*>(from), *end = p + bytes / sizeof(Words); p < end; p += 4)
    for (int i = 0; i < 4; ++i) sums[i] += p[i];
  for (const Words& sum : sums) asm volatile("" : : "m"(sum));
}

#endif

}  // namespace heed::isa
