// SPDX-License-Identifier: Apache-2.0
// heed compare: what each way of attending costs and gives on one model and one text.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "../report/columns.h"
#include "../report/report.h"
#include "command.h"
#include "measure.h"

namespace heed::app {
namespace {

struct Options {
  std::string model, text, report, precision = "fast";
  std::vector<std::string> with;
  std::int64_t tokens = 0, split = 0;
  int threads = 0;
  bool as_json = false;
};

/// A bar on the error stream where that is a terminal; silent elsewhere. Gone when it is destroyed.
class Progress {
 public:
  ~Progress() {
    if (shown_) fmt::print(stderr, "\r\x1b[K");
  }
  void operator()(const std::string& label, double share) {
    if (!terminal_) return;
    constexpr int width = 24;
    const int done = int(share * width);
    fmt::print(stderr, "\r\x1b[K[{}{}] {:3.0f}%  {}", std::string(std::size_t(done), '#'), std::string(std::size_t(width - done), '-'),
               100 * share, label);
    std::fflush(stderr);
    shown_ = true;
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1, shown_ = false;
};

/// Columns that a terminal would show: UTF-8 continuation bytes take none.
std::size_t width_of(const std::string& text) {
  return std::size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void print_table(const std::vector<Json>& rows) {
  const auto& all = columns();
  std::vector<std::vector<std::string>> lines(rows.size() + 1);
  for (const auto& column : all) {
    std::vector<std::string> cells{column.name};
    for (const auto& row : rows) cells.push_back(column.text(row));
    std::size_t width = 0;
    for (const auto& cell : cells) width = std::max(width, width_of(cell));
    const bool words = &column == &all.front() || &column == &all.back();
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string space(width - width_of(cells[i]), ' ');
      lines[i].push_back(words ? cells[i] + space : space + cells[i]);
    }
  }
  for (const auto& line : lines) {
    std::string text;
    for (const auto& cell : line) text += (text.empty() ? "" : "  ") + cell;
    text.erase(text.find_last_not_of(' ') + 1);
    fmt::print("{}\n", text);
  }
}

int compare(const Options& o) {
  check_writable("--report", o.report);
  const Model model = Model::load(o.model, o.threads);
  auto ids = model.tokenizer().encode(read_text("--text", o.text));
  const auto most = model.config().context, n = o.tokens > 0 ? o.tokens : std::min(most, std::int64_t(ids.size()));
  if (n > most) fail("--context", "at most the model's " + std::to_string(most) + " tokens", std::to_string(n));
  if (n > std::int64_t(ids.size())) fail("--context", "at most the text's " + std::to_string(ids.size()) + " tokens", std::to_string(n));
  ids.resize(std::size_t(n));

  Comparison comparison;
  comparison.split = o.split;
  comparison.context.threads = o.threads;
  comparison.context.precision = precision_of(o.precision);
  for (const auto& with : o.with) comparison.ways.push_back(parse_way(with));
  if (o.with.empty()) comparison.ways = usual_ways(n);
  std::vector<Json> rows;
  std::vector<HeadMap> maps;
  {
    Progress progress;
    rows = measure(model, ids, comparison, [&](const std::string& label, double share) { progress(label, share); });
    if (!o.report.empty()) {
      progress("attention maps", 1);
      maps = head_maps(model, ids, comparison.context);
    }
  }
  if (!o.report.empty()) write_report(o.report, {o.model, o.text, &model.config()}, rows, maps);
  if (o.as_json) {
    fmt::print("{}\n", Json(rows).dump(2));
    return 0;
  }
  fmt::print("{}, {} tokens ({} bytes) of {}, {} products, {}\n", o.model, n, rows[0].at("scored_bytes").get<std::int64_t>(), o.text,
             o.precision, rows[0].at("isa").get<std::string>());
  print_table(rows);
  if (rows[0].contains("bits_per_byte_strict")) {
    const double strict = rows[0].at("bits_per_byte_strict"), fast = rows[0].at("bits_per_byte");
    fmt::print("fast products cost {:+.5f} bits per byte: exact attention in strict takes {:.5f}\n", fast - strict, strict);
  }
  if (rows[0].at("write_depth").get<std::int64_t>() < n)
    fmt::print("writing was timed after {} tokens, as more would not fit the model's context\n",
               rows[0].at("write_depth").get<std::int64_t>());
  if (!o.report.empty()) fmt::print("report: {}\n", o.report);
  return 0;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  auto* command = app.add_subcommand("compare", "speed, memory and fidelity of ways of attending, beside exact attention");
  command->add_option("--model", o->model, "a Hugging Face directory or a GGUF file")->required();
  command->add_option("--text", o->text, "a file to read")->required();
  command->add_option("--with", o->with,
                      "SLUG[,name=value]...: a mechanism in place of the model's attention, any number of times (ten usual ones)");
  command->add_option("--context", o->tokens, "the first tokens of the text (as many as the model reads)")->check(count_range(1));
  command->add_option("--split", o->split, "read so many tokens, score the rest one at a time")->check(count_range(1));
  command->add_option("--report", o->report, "an HTML page with the table, curves and attention maps");
  command->add_option("--threads", o->threads, "0: as many as OpenMP would use")->check(thread_range());
  command->add_option("--precision", o->precision, "of products (fast)")->check(one_of({"strict", "fast"}));
  command->add_flag("--json", o->as_json, "an array of objects, one a way");
  command->callback([=, &action] { action = [=] { return compare(*o); }; });
}

}  // namespace heed::app
