// SPDX-License-Identifier: Apache-2.0
#include "heed/error.h"

namespace heed {
inline namespace v0 {

void fail(const std::string& argument, const std::string& expected, const std::string& came) {
  throw Error(argument + ": expected " + expected + ", got " + came);
}

}  // namespace v0
}  // namespace heed
