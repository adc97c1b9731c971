// SPDX-License-Identifier: Apache-2.0
// What a call runs in: passed down, never global.
#pragma once
#include <cstdint>

namespace heed {
inline namespace v0 {

/// Instruction sets, weakest first; the emulated ones run anywhere, slowly, for tests.
enum class Isa : std::uint8_t { avx2, avx512, avx512_bf16, amx, avx512_bf16_emulated, amx_emulated };

/// How products are computed; sums are f32. strict: f32 products. fast: products of bf16 where the instruction set has them.
/// automatic: what the call says, strict for f32 tensors and fast for attention over bf16 and f16. split (f32 by products of
/// bf16 terms) and int8 are not built yet: asking is an error.
enum class Precision : std::uint8_t { strict, split, fast, int8, automatic };

/// The best instruction set of this machine, lowered by HEED_ISA. Throws Error for an unknown or unsupported name
/// and for a CPU without AVX2, FMA and F16C.
Isa default_isa();
const char* name_of(Isa isa);
/// Whether this machine runs it (emulated ones: always).
bool runs_here(Isa isa);

struct Context {
  int threads = 0;  ///< 0: as many as OpenMP would use
  Isa isa = default_isa();
  Precision precision = Precision::automatic;
  std::uint64_t seed = 0;
};

}  // namespace v0
}  // namespace heed
