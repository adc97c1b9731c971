// SPDX-License-Identifier: Apache-2.0
// Many values from one float type to another.
#pragma once
#include <cstdint>

#include "heed/tensor.h"

namespace heed::base {

/// n values side by side, the same to the bit as one by one (float16.h). False, and nothing done, where a type is no float or neither
/// is f32.
bool convert(const void* from, DType given, void* to, DType wanted, std::int64_t n);

}  // namespace heed::base
