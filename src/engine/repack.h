// SPDX-License-Identifier: Apache-2.0
// Rows of weights, as files have them, to the panels of kernel/product.h.
#pragma once
#include <cstdint>

#include "heed/gguf.h"
#include "kernel/product.h"

namespace heed::engine {

/// Throws Error for a type that is not in gguf.h.
product::Layout layout_of(GgmlType type);
std::int64_t block_channels(GgmlType type);
std::int64_t block_bytes(GgmlType type);

/// One row of k channels to column `column` of a panel. 4-bit types to 4 bits; 5, 6 and 8 to 8. Codes, scales and minima are kept exactly.
void repack(GgmlType type, const std::uint8_t* row, std::int64_t k, int column, std::uint8_t* panel);
/// The same for f32, f16 and bf16.
void repack_floats(product::Layout layout, const std::uint8_t* row, std::int64_t k, int column, std::uint8_t* panel);

}  // namespace heed::engine
