// SPDX-License-Identifier: Apache-2.0
// Tensors by name into a mechanism's members: names, dtypes and shapes checked against its declaration.
#pragma once
#include <string>

#include "heed/catalogue.h"
#include "mechanism/extent.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// "input", "weight", "output".
const char* role_name(TensorEntry::Role role);
/// Whether a name fits a pattern: `*` is any text; {i} is digits where one letter is inside, else text without a dot.
bool fits(const std::string& pattern, const std::string& name);
/// The present entry that a name belongs to, or null.
TensorEntry* entry_of(const Declaration& d, TensorEntry::Role role, const std::string& name);

/// Sets the members. Throws Error for an unknown name, a missing tensor, a wrong dtype or shape.
void take(Declaration& d, TensorEntry::Role role, const Tensors& given, Symbols& symbols);
/// Seeded weights for the declaration; throws Error naming one whose shape the symbols do not settle.
Tensors starting_weights(const Declaration& d, const Symbols& symbols, std::uint64_t seed);

}  // namespace heed::mechanism
