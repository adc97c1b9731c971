// SPDX-License-Identifier: Apache-2.0
// One file a command: it adds its subcommand and options to the program, and sets `action` where it was called.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
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

}  // namespace heed::app
