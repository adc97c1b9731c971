// SPDX-License-Identifier: Apache-2.0
// Parts of the report's page as HTML text.
#pragma once
#include <string>
#include <vector>

#include "report.h"

namespace heed::app {

/// &, <, > and quotes as entities.
std::string escaped(const std::string& text);
/// The same, and a line may break after a comma.
std::string breakable(const std::string& text);

/// Horizontal bars of one number a row; `text` is what stands behind the bar.
std::string bars(const std::string& title, const std::string& unit, const std::vector<Json>& rows, double (*value)(const Json&),
                 std::string (*text)(const Json&));
/// Speed of reading against divergence from exact, a dot a way.
std::string trade(const std::vector<Json>& rows);
/// A panel a way: its loss along the text, and exact attention's behind it.
std::string curves(const std::vector<Json>& rows);
/// The maps as images, with their scale.
std::string images(const std::vector<HeadMap>& maps);

}  // namespace heed::app
