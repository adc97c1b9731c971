// SPDX-License-Identifier: Apache-2.0
// The little of Unicode that pre-tokenisers ask for: letters, numbers, white space, and reading UTF-8.
#pragma once
#include <cstddef>
#include <string_view>

namespace heed {
inline namespace v0 {
namespace unicode {

/// \p{L}, \p{N}, \s, or none of the three.
enum class Kind : unsigned char { other, letter, number, space };

Kind kind(char32_t code);

/// One character of UTF-8. Where the bytes are not UTF-8: that one byte, `valid` false.
struct Scanned {
  char32_t code;
  int length;
  bool valid;
};

/// Reads the character that starts at byte `at` (less than text.size()).
Scanned scan(std::string_view text, std::size_t at);

}  // namespace unicode
}  // namespace v0
}  // namespace heed
