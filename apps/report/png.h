// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace heed::app {

using Palette = std::array<std::array<std::uint8_t, 3>, 256>;

/// A PNG file of `indices` (height, width) into a palette whose entry 0 is transparent. Not compressed.
std::string png(const std::vector<std::uint8_t>& indices, int width, int height, const Palette& palette);

std::string base64(const std::string& bytes);

}  // namespace heed::app
