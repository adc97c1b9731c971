// SPDX-License-Identifier: Apache-2.0
// JSON that strangers wrote.
#pragma once
#include <nlohmann/json.hpp>
#include <string_view>

namespace heed {
inline namespace v0 {

/// is_discarded() where the text is not JSON or nests deeper than 32: copies and dump() recurse, and the stack is finite.
inline nlohmann::json parse_json(std::string_view text) {
  bool deep = false;
  auto value = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        deep |= depth > 32;
        return !deep;
      },
      false);
  return deep ? nlohmann::json(nlohmann::json::value_t::discarded) : value;
}

}  // namespace v0
}  // namespace heed
