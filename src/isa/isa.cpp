// SPDX-License-Identifier: Apache-2.0
// Names of instruction sets, which of them run here, and the default.
#include "isa/isa.h"

#include <cstdlib>

#include "heed/error.h"
#include "isa/cpu.h"

namespace heed {
inline namespace v0 {

const char* name_of(Isa set) {
  switch (set) {
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512-bf16";
    case Isa::amx:
      return "amx";
    case Isa::avx512_bf16_emulated:
      return "avx512-bf16-emulated";
    case Isa::amx_emulated:
      return "amx-emulated";
  }
  return "unknown";
}

bool runs_here(Isa set) { return isa::why_not(set).empty(); }

namespace {

Isa best_of_machine() {
  if (const std::string lacks = isa::why_not(Isa::avx2); !lacks.empty())
    throw Error("CPU: expected AVX2, FMA and F16C, got " + isa::cpu().brand + ", which " + lacks);
  for (const Isa set : {Isa::amx, Isa::avx512_bf16, Isa::avx512})
    if (runs_here(set)) return set;
  return Isa::avx2;
}

}  // namespace

Isa default_isa() {
  static const Isa best = best_of_machine();
  const char* wanted = std::getenv("HEED_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  const Isa set = isa::from_name(wanted, "HEED_ISA");
  if (const std::string lacks = isa::why_not(set); !lacks.empty())
    throw Error("HEED_ISA: expected an instruction set that runs here, got " + std::string(wanted) + ", which " + lacks);
  return set;
}

}  // namespace v0

namespace isa {

std::string why_not(Isa set) {
  const Cpu& c = cpu();
  std::string lacks;
  const auto need = [&](bool present, const char* what) {
    if (!present) lacks += (lacks.empty() ? "lacks " : ", ") + std::string(what);
  };
  need(c.avx2, "AVX2");
  need(c.fma, "FMA");
  need(c.f16c, "F16C");
  if (set == Isa::avx512_bf16_emulated || set == Isa::amx_emulated) return lacks;
  if (set >= Isa::avx512) need(c.avx512, "AVX-512 (F, BW, DQ, VL)");
  if (set >= Isa::avx512_bf16) need(c.avx512_bf16, "AVX512-BF16");
  if (set == Isa::amx) {
    need(c.amx_bf16, "AMX-BF16");
    if (lacks.empty()) need(amx_permitted(), "the system's permission for AMX");
  }
  return lacks;
}

Isa from_name(const std::string& name, const std::string& argument) {
  std::string names;
  for (const Isa set : all) {
    if (name == name_of(set)) return set;
    names += (names.empty() ? "" : ", ") + std::string(name_of(set));
  }
  throw Error(argument + ": expected one of " + names + ", got \"" + name + "\"");
}

}  // namespace isa
}  // namespace heed
