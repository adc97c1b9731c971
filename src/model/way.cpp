// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "format/json.h"
#include "heed/catalogue.h"
#include "heed/model.h"

namespace heed {
inline namespace v0 {

std::vector<std::string> list_ways() {
  std::vector<std::string> slugs;
  for (const auto& mechanism : list_mechanisms())
    if (mechanism.mixes) slugs.push_back(mechanism.slug);
  return slugs;
}

Way parse_way(std::string_view text) {
  std::vector<std::string> pieces(1);
  int depth = 0;
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') quoted = !quoted;
    if (!quoted) depth += (c == '[' || c == '{') - (c == ']' || c == '}');
    if (c == ',' && depth == 0 && !quoted)
      pieces.emplace_back();
    else
      pieces.back() += c;
  }
  Way way;
  way.slug = pieces[0];
  auto params = nlohmann::json::object();
  for (std::size_t i = 1; i < pieces.size(); ++i) {
    const auto at = pieces[i].find('=');
    if (at == std::string::npos || at == 0) fail("way " + way.slug, "SLUG[,name=value]...", "'" + pieces[i] + "'");
    const auto value = parse_json(pieces[i].substr(at + 1));
    params[pieces[i].substr(0, at)] = value.is_discarded() ? nlohmann::json(pieces[i].substr(at + 1)) : value;
  }
  way.params = params.dump();
  return way;
}

}  // namespace v0
}  // namespace heed
