// SPDX-License-Identifier: Apache-2.0
// Symbolic extents: "B N 2*dim+1" against shapes.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "heed/tensor.h"

namespace heed::mechanism {

using Symbols = std::map<std::string, double>;

/// The value of an expression (+ - * / // % ( ), int min max ceil floor sqrt), or nothing where a symbol is unbound.
/// Throws Error for a malformed one.
std::optional<double> evaluate(const std::string& expression, const Symbols& symbols);

/// The whole number at or below the value. Throws Error naming `name` where no integer holds it (NaN, beyond 2^53).
std::int64_t whole(const std::string& name, double value);

/// Binds the single symbols of `pattern` and checks the rest; `name` is for the message.
void match(const std::string& name, const std::string& pattern, const Shape& shape, Symbols& symbols);

/// For messages: whole numbers without a point.
std::string in_digits(double value);

std::vector<std::string> words(const std::string& text);

}  // namespace heed::mechanism
