// SPDX-License-Identifier: Apache-2.0
// One file a command: it adds its subcommand and options to the program, and sets `action` where it was called.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "heed/context.h"

namespace heed::app {

/// What main() runs after parsing; returns the exit code: 0 done, 1 the answer is no, 2 wrong use.
using Action = std::function<int()>;

void add_catalogue(CLI::App& app, Action& action);  ///< list, info, verify
void add_run(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);  ///< generate, logits, score

/// "name=value" pairs into a JSON object; a bare word is text. Throws Error for another form.
nlohmann::json parse_pairs(const std::vector<std::string>& pairs);

/// is_discarded() where the text is not JSON or nests deeper than 32 (its writer recurses).
nlohmann::json parse_json(const std::string& text);

/// The bytes of a file or pipe, at most 1 GiB; Error naming `option` where it cannot be read.
std::string read_text(const std::string& option, const std::string& path);

/// Refuses a file that could not be written there later: before work is done for it. Nothing where `path` is empty.
void check_writable(const std::string& option, const std::string& path);

/// Writes beside `path` and renames, so that it is never half-written. Throws Error where that fails.
void write_whole(const std::string& option, const std::string& path, const std::string& text);

/// The mechanisms of a family; Error naming --family and what there is where it has none.
std::vector<std::string> slugs_of(const std::string& family);

/// What options may be. Those of CLI11 saturate at the ends of a type and do not say what they expected.
CLI::Validator thread_range();
CLI::Validator seed_range();
CLI::Validator count_range(std::int64_t least, std::int64_t most = std::int64_t{1} << 40);
CLI::Validator number_range(double least, double most);
CLI::Validator one_of(const std::vector<std::string>& names);

/// Of a name that one_of let through.
Precision precision_of(const std::string& name);

/// Throws heed's Error in place of CLI11's: which argument, what was expected, what came.
[[noreturn]] void refuse(const CLI::App& app, const CLI::ParseError& error);

}  // namespace heed::app
