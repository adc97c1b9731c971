// SPDX-License-Identifier: Apache-2.0
// The options of `bench` and `run` that say on what a mechanism runs.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "command.h"
#include "heed/catalogue.h"

namespace heed::app {

struct ExampleOptions {
  std::string shape, dtype = "f32", precision;
  std::vector<std::string> pairs, with;
  int threads = 0;
  std::uint64_t seed = 0;

  void add_to(CLI::App& command);
  DType type() const;
  /// 16-bit inputs: fast unless --precision says otherwise.
  Context context() const;
  /// Random tensors for `slug`; `params` on top of -p.
  Example make(const std::string& slug, const nlohmann::json& params = nlohmann::json::object()) const;
};

/// What --shape means, for --help.
extern const char* const shapes_text;

}  // namespace heed::app
