// SPDX-License-Identifier: Apache-2.0
// What is given on the command line: checked, read, and refused in one line that says what was expected and what came.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "command.h"
#include "heed/error.h"

namespace heed::app {
namespace {

using nlohmann::json;

/// A validator that names itself in --help; `holds` says whether a text is `expected`.
CLI::Validator check(const std::string& expected, const std::function<bool(const std::string&)>& holds) {
  return {[=](const std::string& text) { return holds(text) ? "" : "expected " + expected + ", got '" + text + "'"; }, expected};
}

CLI::Validator integers(std::int64_t least, std::int64_t most) {
  return check(fmt::format("an integer of {} to {}", least, most), [=](const std::string& text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && value >= least && value <= most;
  });
}

/// The command that was called, or the program.
const CLI::App& called(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

/// What an option is for, in its description's words.
std::string purpose(const CLI::App& command, const std::string& name) {
  const auto* option = command.get_option_no_throw(name);
  return option != nullptr && !option->get_description().empty() ? option->get_description() : "a value";
}

}  // namespace

CLI::Validator thread_range() { return integers(0, 1024); }
CLI::Validator seed_range() { return integers(0, std::numeric_limits<std::int64_t>::max()); }
CLI::Validator count_range(std::int64_t least, std::int64_t most) { return integers(least, most); }

CLI::Validator number_range(double least, double most) {
  return check(std::isinf(most) ? fmt::format("a number of {} or more", least) : fmt::format("a number of {} to {}", least, most),
               [=](const std::string& text) {
                 char* end = nullptr;
                 const double value = std::strtod(text.c_str(), &end);
                 return !text.empty() && end == text.c_str() + text.size() && std::isfinite(value) && value >= least && value <= most;
               });
}

CLI::Validator one_of(const std::vector<std::string>& names) {
  return check(fmt::format("one of {}", CLI::detail::join(names, ", ")),
               [=](const std::string& text) { return std::find(names.begin(), names.end(), text) != names.end(); });
}

Precision precision_of(const std::string& name) {
  static const std::map<std::string, Precision> all = {
      {"strict", Precision::strict}, {"split", Precision::split}, {"fast", Precision::fast}, {"int8", Precision::int8}};
  return all.at(name);
}

void refuse(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = called(app);
  const std::string said = error.what(), name = said.substr(0, said.find_first_of(": "));
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto rest = app.remaining(true);
    const std::string what = rest.empty() ? said : rest.front();
    if (what.rfind('-', 0) == 0 && what.size() > 1)
      fail(what, "an option of heed " + command.get_name() + " (heed " + command.get_name() + " --help)", "an unknown one");
    fail(command.get_name(), "no further argument", "'" + what + "'");
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    if (&command != &app) fail(name, purpose(command, name), "none");
    std::string names;
    for (const auto* each : app.get_subcommands({})) names += (names.empty() ? "" : ", ") + each->get_name();
    const auto rest = app.remaining();
    fail("command", "one of " + names + " (heed --help says what they do)", rest.empty() ? "none" : "'" + rest.front() + "'");
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) fail(name, "a value (" + purpose(command, name) + ")", "none");
  throw Error(said);  // of a validator above
}

json parse_json(const std::string& text) {
  bool deep = false;
  json value = json::parse(
      text, [&](int depth, json::parse_event_t, json&) { return deep |= depth > 32, !deep; }, false);
  return deep ? json(json::value_t::discarded) : value;
}

json parse_pairs(const std::vector<std::string>& pairs) {
  json params = json::object();
  for (const auto& pair : pairs) {
    const auto at = pair.find('=');
    if (at == std::string::npos || at == 0) fail("-p", "name=value", "'" + pair + "'");
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
  if (!file.eof() && text.size() <= most) fail(option, "a file that can be read", "'" + path + "'");
  if (text.size() > most) fail(option, "at most 1 GiB", "more in '" + path + "'");
  return text;
}

void check_writable(const std::string& option, const std::string& path) {
  namespace fs = std::filesystem;
  if (path.empty()) return;
  std::error_code error;
  const auto folder = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
  if (!fs::is_directory(folder, error)) fail(option, "a file in a folder that exists", "'" + path + "'");
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) fail(option, "a regular file or none yet", "'" + path + "'");
  if (error) fail(option, "a file that can be written", "'" + path + "': " + error.message());
  if (::access(folder.c_str(), W_OK) != 0)
    fail(option, "a folder that can be written to", "'" + folder.string() + "': " + std::strerror(errno));
}

void write_whole(const std::string& option, const std::string& path, const std::string& text) {
  const std::string part = path + "." + std::to_string(::getpid()) + ".part";
  std::error_code error;
  {
    std::ofstream file(part, std::ios::binary);
    file << text;
    file.close();
    if (file) std::filesystem::rename(part, path, error);
    if (file && !error) return;
  }
  std::filesystem::remove(part, error);
  fail(option, "a file that can be written", "'" + path + "'");
}

}  // namespace heed::app
