// SPDX-License-Identifier: Apache-2.0
// What goes wrong is said once, in one line: which argument, what was expected, what came.
#pragma once
#include <stdexcept>
#include <string>

namespace heed {
inline namespace v0 {

/// Thrown for every bad input, before memory is touched. `what()` is one line.
class Error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Throws Error("ARGUMENT: expected EXPECTED, got CAME").
[[noreturn]] void fail(const std::string& argument, const std::string& expected, const std::string& came);

}  // namespace v0
}  // namespace heed
