// SPDX-License-Identifier: Apache-2.0
// The columns of heed compare's table, on a terminal and in the report alike.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace heed::app {

using Json = nlohmann::ordered_json;

struct Column {
  std::string name;
  std::string meaning;  ///< one sentence
  std::string (*text)(const Json& row);
};

/// The first one is the way, the last one its parameters; the others are numbers.
const std::vector<Column>& columns();

}  // namespace heed::app
