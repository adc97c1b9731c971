// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but one instruction, in assembly: a compiler would spill the accumulators.
#pragma once
#include <cstddef>

namespace heed::isa {

/// Runs `rounds` (above 0) rounds; the caller has checked that the CPU has the instruction. Null where it is not x86-64.
struct Loop {
  void (*run)(long rounds) = nullptr;
  double operations = 0;  ///< in one round
};

extern const Loop fma_avx2, fma_avx512, vdp_avx512, tdp_amx, int8_avx2, int8_vnni;

/// Reads `bytes` (a multiple of 512, above 0) with AVX2 loads.
void read_avx2(const void* from, std::size_t bytes);

}  // namespace heed::isa
