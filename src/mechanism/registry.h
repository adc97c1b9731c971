// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// Every entry of src/mechanism/<family>/; the body is written by CMake from the files' names.
std::vector<Entry> entries();

}  // namespace heed::mechanism
