// SPDX-License-Identifier: Apache-2.0
// Standard headers, read before a region of another instruction set begins.
#pragma once
// g++ 12 warns about its own headers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernel/table.h"

/// On lambdas that hold vectors.
#define HEED_INLINE __attribute__((always_inline))

namespace heed::kernel {
/// A line of memory that will be read soon. The hint for the second cache alone is half as fast here (Zen 5).
inline __attribute__((always_inline)) void ask_for(const char* line) { __builtin_prefetch(line, 0, 3); }
}  // namespace heed::kernel
