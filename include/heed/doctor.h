// SPDX-License-Identifier: Apache-2.0
// What this machine is and what it can do at best.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "heed/context.h"

namespace heed {
inline namespace v0 {

struct Doctor {
  /// Measured, empty where this machine lacks the instruction (HEED_ISA does not lower them). A multiplication and
  /// an addition count as two operations.
  struct Peaks {
    std::optional<double> f32_fma;   ///< GFLOP/s; VFMADD231PS, the widest registers there are
    std::optional<double> bf16_vdp;  ///< GFLOP/s; VDPBF16PS
    std::optional<double> bf16_amx;  ///< GFLOP/s; TDPBF16PS
    /// GOP/s of u8 x i8 products summed in 32 bits: VPDPBUSD with AVX512-VNNI (never AMX), else VPMADDUBSW, VPMADDWD by
    /// ones and VPADDD, where only the products and their sums count.
    std::optional<double> int8;
    std::optional<double> read;  ///< GB/s (1e9 bytes), 256 MiB read in order
  };

  std::string cpu;
  Isa isa;                                                ///< default_isa()
  std::vector<std::pair<std::string, std::string>> isas;  ///< name; "runs" or why not: "lacks AVX512-BF16"
  int threads = 1;                                        ///< what Context::threads = 0 means
  Peaks one, all;                                         ///< one thread; all of them
};

/// Throws Error like default_isa(). Measuring takes about two seconds and all threads; run it on an idle machine.
Doctor examine(bool measure_peaks);

}  // namespace v0
}  // namespace heed
