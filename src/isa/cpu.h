// SPDX-License-Identifier: Apache-2.0
// What the CPU and the system offer, asked once.
#pragma once
#include <string>

namespace heed::isa {

struct Cpu {
  std::string brand = "unknown";
  bool avx2 = false, fma = false, f16c = false;  // each with its registers enabled by the system
  bool avx512 = false;                           // F, BW, DQ and VL
  bool avx512_bf16 = false, avx512_vnni = false;
  bool amx_tile = false, amx_bf16 = false;  // the system enables tiles; permission is another question
};

const Cpu& cpu();

/// Asks the system for AMX tile data for this process, once. Only after cpu().amx_tile.
bool amx_permitted();

}  // namespace heed::isa
