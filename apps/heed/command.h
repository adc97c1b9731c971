// SPDX-License-Identifier: Apache-2.0
// One file a command: it adds its subcommand and options to the program, and sets `action` where it was called.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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

/// What --threads, --seed and numbers of tokens may be.
inline CLI::Range thread_range() { return {0, 1024}; }
inline CLI::Range seed_range() { return {std::int64_t{0}, std::numeric_limits<std::int64_t>::max()}; }
inline CLI::Range count_range(std::int64_t least) { return {least, std::int64_t{1} << 40}; }

}  // namespace heed::app
