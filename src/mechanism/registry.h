// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// Every entry of src/mechanism/<family>/; the body is written by CMake from the files' names.
std::vector<Entry> entries();

/// A mechanism with its parameters set from a JSON object; `effective` (where given) gets all of them as one. Throws Error for
/// an unknown slug or parameter and for a value out of range. (Body: catalogue.cpp.)
std::unique_ptr<Mechanism> configure(const std::string& slug, const std::string& params, std::string* effective = nullptr);

}  // namespace heed::mechanism
