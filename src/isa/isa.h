// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "heed/context.h"

namespace heed::isa {

inline constexpr Isa all[] = {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::avx512_bf16_emulated, Isa::amx_emulated};

/// Empty where it runs here, else "lacks AVX512-BF16" and the like.
std::string why_not(Isa set);

/// The set of that name; Error naming the argument and the names there are.
Isa from_name(const std::string& name, const std::string& argument);

}  // namespace heed::isa
