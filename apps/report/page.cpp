// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstdio>

#include "../heed/command.h"
#include "charts.h"
#include "report.h"
#include "style.h"

namespace heed::app {
namespace {

std::string cell_class(const Column& column) { return column.name.rfind("±", 0) == 0 ? " class=\"error\"" : ""; }

std::string table(const std::vector<Json>& rows) {
  const auto& all = columns();
  std::string out = "<div class=\"scroll\"><table id=\"ways\"><thead><tr>";
  for (std::size_t c = 0; c + 1 < all.size(); ++c)
    out += fmt::format("<th{} title=\"{}\">{}</th>", cell_class(all[c]), escaped(all[c].meaning), escaped(all[c].name));
  out += "</tr></thead><tbody>\n";
  for (const auto& row : rows) {
    out += fmt::format("<tr><td><b>{}</b><span class=\"given\">{}</span></td>", escaped(all.front().text(row)),
                       breakable(all.back().text(row)));
    for (std::size_t c = 1; c + 1 < all.size(); ++c) out += fmt::format("<td{}>{}</td>", cell_class(all[c]), escaped(all[c].text(row)));
    out += "</tr>\n";
  }
  out += "</tbody></table></div>\n<dl>\n";
  for (std::size_t c = 1; c + 1 < all.size(); ++c)
    out += fmt::format("<div><dt>{}</dt> <dd>{}</dd></div>\n", escaped(all[c].name), escaped(all[c].meaning));
  return out + "</dl>\n";
}

std::string details(const std::vector<Json>& rows) {
  std::string out = "<div class=\"scroll\"><table><thead><tr><th>way</th><th>scored</th>";
  for (const auto& [name, value] : rows[0].at("kld_percentiles").items()) out += fmt::format("<th>KLD {}%</th>", name);
  out += "<th style=\"text-align:left\">every parameter</th></tr></thead><tbody>\n";
  for (const auto& row : rows) {
    const std::int64_t from = row.at("scored_from"), n = row.at("scored_tokens");
    out += fmt::format("<tr><td>{}</td><td>{}–{}</td>", escaped(row.at("way").get<std::string>()), from, from + n - 1);
    for (const auto& [name, value] : row.at("kld_percentiles").items()) out += fmt::format("<td>{:.2g}</td>", value.get<double>());
    out += fmt::format("<td class=\"text\"><code>{}</code></td></tr>\n", breakable(row.at("parameters").dump()));
  }
  return out + "</tbody></table></div>\n";
}

std::string page(const Subject& s, const std::vector<Json>& rows, const std::vector<HeadMap>& maps) {
  const auto& exact = rows[0];
  const auto& c = *s.config;
  const auto file_of = [](const std::string& path) {
    const std::filesystem::path p(path);
    return escaped((p.has_filename() ? p : p.parent_path()).filename().string());
  };
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n";
  out += fmt::format("<title>heed compare: {}</title><style>{}</style></head><body><main>\n", file_of(s.model), style);
  const std::int64_t n = exact.at("tokens");
  out += fmt::format(
      "<h1>{} tokens of {}, read in {} ways</h1>\n<p>What each way of attending costs and gives, beside exact attention: every layer of {} "
      "attends that way.</p>\n",
      n, file_of(s.text), rows.size(), file_of(s.model));
  const auto fact = [&](const char* name, const std::string& value) { out += fmt::format("<li><b>{}</b>{}</li>\n", name, value); };
  out += "<ul class=\"facts\">\n";
  fact("model",
       fmt::format("{}, {} layers of {} query and {} key heads, width {}", c.architecture, c.layers, c.heads, c.kv_heads, c.head_width));
  fact("hash of its weights", "<code>" + exact.at("model_hash").get<std::string>() + "</code>");
  fact("text", fmt::format("{} tokens, {} bytes", n, exact.at("scored_bytes").get<std::int64_t>()));
  fact("products", exact.at("precision").get<std::string>() + ", " + exact.at("isa").get<std::string>());
  if (exact.contains("bits_per_byte_strict"))
    fact("cost of fast products",
         fmt::format("{:+.5f} bits per byte", exact.at("bits_per_byte").get<double>() - exact.at("bits_per_byte_strict").get<double>()));
  out +=
      "</ul>\n<h2>The ways</h2>\n<p>Statistics are those of llama.cpp's perplexity tool; all scored positions count. Parameters as given "
      "stand under the name.</p>\n" +
      table(rows);

  out += "<h2>What each costs</h2>\n<p>Exact attention in grey.</p>\n<div class=\"charts\">\n";
  out += bars(
      "Reading", "tokens a second", rows, [](const Json& r) { return r.at("read_tokens_per_second").get<double>(); }, columns()[2].text);
  out += bars(
      "Writing", "tokens a second", rows, [](const Json& r) { return r.at("write_tokens_per_second").get<double>(); }, columns()[3].text);
  out += bars(
      "Held after reading", "MiB of keys and values", rows, [](const Json& r) { return r.at("kv_bytes").get<double>(); },
      columns()[4].text);
  out +=
      "</div>\n<h2>Speed and fidelity</h2>\n<p>Mean KLD in nats, upwards smaller: nearer to exact attention's predictions. To the right: "
      "faster.</p>\n" +
      trade(rows);
  out +=
      "<h2>Loss along the text</h2>\n<p>Mean loss in nats a token, by position; exact attention in grey. One scale for all: a line that "
      "runs along the upper edge lies above it.</p>\n" +
      curves(rows);
  if (!maps.empty())
    out +=
        "<h2>What heads look at</h2>\n<p>Exact attention. Queries run down, keys run right, each image spans the whole text; the "
        "brightness of a cell is the share of a query's weight "
        "on the keys of that cell, on a logarithmic scale. Chosen: up to two heads that most do what the caption says.</p>\n" +
        images(maps);
  out +=
      "<h2>Everything else</h2>\n<p>Percentiles of the divergence in nats, the positions that were scored, and every effective "
      "parameter.</p>\n" +
      details(rows);
  // Data for whoever wants it; nothing runs.
  std::string data = Json(rows).dump();
  for (std::size_t at = 0; (at = data.find('<', at)) != std::string::npos;) data.replace(at, 1, "\\u003c");
  return out + "<script type=\"application/json\" id=\"rows\">" + data + "</script>\n</main></body></html>\n";
}

}  // namespace

void write_report(const std::string& path, const Subject& subject, const std::vector<Json>& rows, const std::vector<HeadMap>& maps) {
  write_whole("--report", path, page(subject, rows, maps));
}

}  // namespace heed::app
