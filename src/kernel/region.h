// SPDX-License-Identifier: Apache-2.0
// Standard headers, read before a region of another instruction set begins.
#pragma once
// g++ 12 warns about its own headers.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#if defined(__x86_64__)
#include <immintrin.h>
#else  // AVX2's words in those of another machine
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#if !defined(_MM_FROUND_NO_EXC)
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif
#endif

#include <cstddef>
#include <cstdint>

#include "kernel/table.h"

/// On lambdas that hold vectors.
#define HEED_INLINE __attribute__((always_inline))

namespace heed::kernel {
/// A line of memory that will be read soon. The hint for the second cache alone is half as fast here (Zen 5).
inline __attribute__((always_inline)) void ask_for(const char* line) { __builtin_prefetch(line, 0, 3); }
}  // namespace heed::kernel
