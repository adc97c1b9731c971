// SPDX-License-Identifier: Apache-2.0
// Pre-tokenisers: a text as the words that no token crosses.
#pragma once
#include <string_view>
#include <vector>

namespace heed {
inline namespace v0 {
namespace words {

/// The regular expressions of the published models, walked by hand.
enum class Pattern { gpt2, smollm, llama3, qwen2 };

/// Throws Error for an unknown name.
Pattern pattern_named(std::string_view name);

std::vector<std::string_view> split(std::string_view text, Pattern pattern);

}  // namespace words
}  // namespace v0
}  // namespace heed
