// SPDX-License-Identifier: Apache-2.0
// heed list | info | verify: the catalogue.
#include "heed/catalogue.h"

#include <fmt/core.h>

#include <fstream>
#include <memory>

#include "command.h"

namespace heed::app {
namespace {

using nlohmann::json;

int list(const std::string& family, bool as_json) {
  json rows = json::array();
  for (const auto& m : heed::list_mechanisms())
    if (family.empty() || m.family == family)
      rows.push_back({{"slug", m.slug},
                      {"family", m.family},
                      {"kind", m.kind},
                      {"tier", m.tier},
                      {"paper", m.paper.empty() ? json(nullptr) : json(m.paper)}});
  if (as_json) {
    fmt::print("{}\n", rows.dump(2));
    return 0;
  }
  for (const auto& r : rows)
    fmt::print("{:32} {:10} {:10} {}\n", r["slug"].get<std::string>(), r["family"].get<std::string>(), r["kind"].get<std::string>(),
               r["paper"].is_null() ? "" : r["paper"].get<std::string>());
  return 0;
}

int verify(const std::vector<std::string>& files, const heed::Context& context) {
  bool passed = true, usable = true;
  for (const auto& file : files) {
    try {
      for (const auto& e : heed::verify(file, context)) {
        fmt::print("{} {} {}: absolute {:.3g}, relative {:.3g}\n", e.passed ? "ok  " : "FAIL", file, e.output, e.max_absolute,
                   e.max_relative);
        passed = passed && e.passed;
      }
    } catch (const heed::Error& error) {
      fmt::print(stderr, "heed verify: {}: {}\n", file, error.what());
      usable = false;
    }
  }
  return !usable ? 2 : passed ? 0 : 1;
}

}  // namespace

nlohmann::json parse_json(const std::string& text) {
  bool deep = false;
  json value = json::parse(
      text, [&](int depth, json::parse_event_t, json&) { return deep |= depth > 32, !deep; }, false);
  return deep ? json(json::value_t::discarded) : value;
}

nlohmann::json parse_pairs(const std::vector<std::string>& pairs) {
  json params = json::object();
  for (const auto& pair : pairs) {
    const auto at = pair.find('=');
    if (at == std::string::npos || at == 0) heed::fail("-p", "name=value", "'" + pair + "'");
    auto value = parse_json(pair.substr(at + 1));
    params[pair.substr(0, at)] = value.is_discarded() ? json(pair.substr(at + 1)) : value;
  }
  return params;
}

std::string read_text(const std::string& option, const std::string& path) {
  constexpr std::size_t most = std::size_t{1} << 30, piece = std::size_t{1} << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  while (file && text.size() <= most) {
    const auto before = text.size();
    text.resize(before + piece);
    file.read(text.data() + before, piece);
    text.resize(before + std::size_t(file.gcount()));
  }
  if (!file.eof() && text.size() <= most) heed::fail(option, "a file that can be read", "'" + path + "'");
  if (text.size() > most) heed::fail(option, "at most 1 GiB", "more in '" + path + "'");
  return text;
}

void add_catalogue(CLI::App& app, Action& action) {
  struct Options {
    std::string slug, family;
    std::vector<std::string> pairs, files;
    bool as_json = false;
    heed::Context context;
  };
  const auto o = std::make_shared<Options>();

  auto* list_command = app.add_subcommand("list", "every mechanism");
  list_command->add_option("--family", o->family, "only this family");
  list_command->add_flag("--json", o->as_json);
  list_command->callback([=, &action] { action = [=] { return list(o->family, o->as_json); }; });

  auto* info_command = app.add_subcommand("info", "what a mechanism takes and gives, as JSON");
  info_command->add_option("slug", o->slug)->required();
  info_command->add_option("-p", o->pairs, "name=value");
  info_command->callback(
      [=, &action] { action = [=] { return fmt::print("{}\n", heed::describe_mechanism(o->slug, parse_pairs(o->pairs).dump())), 0; }; });

  auto* verify_command = app.add_subcommand("verify", "run case files and compare");
  verify_command->add_option("files", o->files)->required();
  verify_command->add_option("--threads", o->context.threads)->check(thread_range());
  verify_command->callback([=, &action] { action = [=] { return verify(o->files, o->context); }; });
}

}  // namespace heed::app
