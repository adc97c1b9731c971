// SPDX-License-Identifier: Apache-2.0
// heed list | info | verify: the catalogue.
#include "heed/catalogue.h"

#include <fmt/format.h>

#include <memory>
#include <set>

#include "command.h"

namespace heed::app {
namespace {

using nlohmann::json;

int list(const std::string& family, bool as_json) {
  if (!family.empty()) slugs_of(family);
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

std::vector<std::string> slugs_of(const std::string& family) {
  std::vector<std::string> slugs;
  std::set<std::string> families;
  for (const auto& m : heed::list_mechanisms()) {
    families.insert(m.family);
    if (m.family == family) slugs.push_back(m.slug);
  }
  if (slugs.empty()) heed::fail("--family", fmt::format("one of {}", fmt::join(families, ", ")), "'" + family + "'");
  return slugs;
}

void add_catalogue(CLI::App& app, Action& action) {
  struct Options {
    std::string slug, family, precision;
    std::vector<std::string> pairs, files;
    bool as_json = false;
    heed::Context context;
  };
  const auto o = std::make_shared<Options>();

  auto* list_command = app.add_subcommand("list", "every mechanism");
  list_command->add_option("--family", o->family, "only this family");
  list_command->add_flag("--json", o->as_json, "an array of objects");
  list_command->callback([=, &action] { action = [=] { return list(o->family, o->as_json); }; });

  auto* info_command = app.add_subcommand("info", "what a mechanism takes and gives, as JSON");
  info_command->add_option("slug", o->slug, "a mechanism of heed list")->required();
  info_command->add_option("-p", o->pairs, "name=value, a parameter: which tensors there are may depend on it")->allow_extra_args(false);
  info_command->callback(
      [=, &action] { action = [=] { return fmt::print("{}\n", heed::describe_mechanism(o->slug, parse_pairs(o->pairs).dump())), 0; }; });

  auto* verify_command = app.add_subcommand("verify", "run case files and compare");
  verify_command->add_option("files", o->files, "case files (docs/case-files.md)")->required();
  verify_command->add_option("--threads", o->context.threads, "0: as many as OpenMP would use")->check(thread_range());
  verify_command->add_option("--precision", o->precision, "of products (strict)")->check(one_of({"strict", "split", "fast", "int8"}));
  verify_command->callback([=, &action] {
    action = [=] {
      if (!o->precision.empty()) o->context.precision = precision_of(o->precision);
      return verify(o->files, o->context);
    };
  });
}

}  // namespace heed::app
