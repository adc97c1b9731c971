// SPDX-License-Identifier: Apache-2.0
// Parameters from JSON, and back.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "mechanism/extent.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// The object in `text`. Throws Error for anything else.
nlohmann::json parse_params(const std::string& text);
nlohmann::json value_of(const ParamEntry& param);
/// "bool", "int", "float", "text", "list of int", "map of int", "bool or text"; "... or null".
std::string type_of(const ParamEntry& param);
/// Describes the body, sets its parameters, and describes it again, as entries may depend on them. Throws Error for an unknown
/// name, a wrong type, or a value out of range.
Declaration declare(Mechanism& body, const nlohmann::json& params);
/// The numbers among the parameters, for shapes.
Symbols symbols_of(const Declaration& d);

}  // namespace heed::mechanism
