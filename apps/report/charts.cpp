// SPDX-License-Identifier: Apache-2.0
#include "charts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "png.h"

namespace heed::app {
namespace {

std::string label_of(const Json& row) {
  const auto way = row.at("way").get<std::string>(), variant = row.at("variant").get<std::string>();
  return variant.empty() ? way : way + " " + variant;
}
std::string name_of(const Json& row) { return escaped(label_of(row)); }
std::string given_of(const Json& row) { return breakable(row.at("given").get<std::string>()); }
bool is_exact(const Json& row) {
  return row.at("way").get<std::string>().rfind("exact", 0) == 0 && row.at("given").get<std::string>().empty();
}

/// 1, 2 or 5 times a power of ten, at least x.
double round_up(double x) {
  const double ten = std::pow(10, std::floor(std::log10(x)));
  for (const double step : {1.0, 2.0, 5.0})
    if (step * ten >= x) return step * ten;
  return 10 * ten;
}

/// Dark blue over green to yellow; entry 0 is what no query sees.
Palette palette() {
  constexpr int stops[][3] = {{38, 26, 74}, {49, 84, 138}, {33, 144, 141}, {110, 205, 90}, {253, 231, 60}};
  Palette colours{};
  for (std::size_t i = 1; i < colours.size(); ++i) {
    const double at = double(i - 1) / 254 * 4;
    const auto stop = std::min<std::size_t>(3, std::size_t(at));
    for (std::size_t c = 0; c < 3; ++c)
      colours[i][c] = std::uint8_t(std::lround(stops[stop][c] + (at - double(stop)) * (stops[stop + 1][c] - stops[stop][c])));
  }
  return colours;
}

constexpr double faintest = 1e-4;  ///< share of a query's weight that is still told apart

std::string image(const HeadMap& map) {
  std::vector<std::uint8_t> indices(map.share.size());
  for (int y = 0; y < map.cells; ++y)
    for (int x = 0; x <= y; ++x) {
      const auto at = std::size_t(y) * std::size_t(map.cells) + std::size_t(x);
      const double bright = std::log(std::max<double>(map.share[at], faintest) / faintest) / -std::log(faintest);
      indices[at] = std::uint8_t(1 + std::lround(254 * std::min(bright, 1.0)));
    }
  return "data:image/png;base64," + base64(png(indices, map.cells, map.cells, palette()));
}

}  // namespace

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string breakable(const std::string& text) {
  std::string out = escaped(text);
  for (std::size_t at = 0; (at = out.find(',', at)) != std::string::npos;) out.insert(++at, "<wbr>");
  return out;
}

std::string bars(const std::string& title, const std::string& unit, const std::vector<Json>& rows, double (*value)(const Json&),
                 std::string (*text)(const Json&)) {
  double most = 0;
  for (const auto& row : rows) most = std::max(most, value(row));
  std::string out = fmt::format("<div class=\"card\"><h3>{} <span>{}</span></h3><div class=\"bars\">\n", title, unit);
  for (const auto& row : rows)
    out += fmt::format("<span title=\"{}\">{}</span><i class=\"{}\" style=\"width:{:.2f}%\"></i><b>{}</b>\n",
                       escaped(row.at("given").get<std::string>()), name_of(row), is_exact(row) ? "exact" : "",
                       most > 0 ? 100 * value(row) / most : 0, text(row));
  return out + "</div></div>\n";
}

std::string trade(const std::vector<Json>& rows) {
  double slow = 1e300, fast = 0, low = 1e300, high = 0;
  for (const auto& row : rows) {
    const double speed = row.at("read_tokens_per_second"), kld = row.at("kld_mean");
    slow = std::min(slow, speed), fast = std::max(fast, speed);
    if (kld > 0) low = std::min(low, kld), high = std::max(high, kld);
  }
  if (high == 0) return "";
  const double bottom = std::floor(std::log10(low)), top = std::ceil(std::log10(high) + 1e-9), left = slow * 0.92, right = fast * 1.05;
  constexpr double width = 900, height = 320;
  const auto x = [&](double speed) { return 46 + (speed - left) / (right - left) * (width - 60); };
  const auto y = [&](double kld) { return 14 + (std::log10(kld) - bottom) / (top - bottom) * (height - 48); };
  std::string out = fmt::format(
      "<div class=\"card\"><svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"divergence against speed\">\n", width, height);
  for (double power = bottom; power <= top; ++power) {
    const double at = y(std::pow(10, power));
    out += fmt::format("<path class=\"axis\" d=\"M46 {0:.1f}H{1:.0f}\"/><text x=\"40\" y=\"{2:.1f}\" text-anchor=\"end\">{3:g}</text>\n",
                       at, width - 10, at + 3, std::pow(10, power));
  }
  const double step = round_up((right - left) / 6);
  for (double speed = std::ceil(left / step) * step; speed <= right; speed += step)
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"middle\">{:.0f}</text>\n", x(speed), height - 16, speed);
  out += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\" text-anchor=\"end\">tokens read a second →</text>\n", width - 10, height - 2);
  struct Box {
    double x, y, width;  ///< from x on; y is the foot of a line of text
  };
  std::vector<Box> taken;
  for (const auto& row : rows) {
    const double at = x(row.at("read_tokens_per_second")), kld = row.at("kld_mean");
    if (kld > 0) taken.push_back({at - 4, y(kld) + 4, 8});
    if (!is_exact(row)) continue;
    out += fmt::format(
        "<path class=\"exact\" stroke-dasharray=\"3 3\" d=\"M{0:.1f} 14V{1:.0f}\"/><text x=\"{0:.1f}\" y=\"9\" "
        "text-anchor=\"middle\">exact</text>\n",
        at, height - 34);
  }
  for (const auto& row : rows) {
    const double speed = row.at("read_tokens_per_second"), kld = row.at("kld_mean");
    if (is_exact(row) || kld <= 0) continue;
    // Beside its dot on the right, on the left, below or above: the first place that is free; else the first.
    const double length = 6.3 * double(label_of(row).size()), right = x(speed) + 7, middle = y(kld) + 4;
    const Box places[] = {
        {right, middle, length},      {right - length - 14, middle, length},      {right, middle + 12, length},
        {right, middle - 12, length}, {right - length - 14, middle + 12, length}, {right - length - 14, middle - 12, length}};
    const auto free = [&](const Box& box) {
      return box.x > 46 && box.x + box.width < width && std::none_of(taken.begin(), taken.end(), [&](const Box& t) {
               return std::abs(t.y - box.y) < 11 && box.x < t.x + t.width && t.x < box.x + box.width;
             });
    };
    const auto* found = std::find_if(std::begin(places), std::end(places), free);
    const Box label = found == std::end(places) ? places[0] : *found;
    taken.push_back(label);
    out += fmt::format(
        "<g><title>{} {}</title><circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/><text class=\"name\" x=\"{:.1f}\" "
        "y=\"{:.1f}\">{}</text></g>\n",
        name_of(row), escaped(row.at("given").get<std::string>()), x(speed), y(kld), label.x, label.y, name_of(row));
  }
  return out + "</svg></div>\n";
}

std::string curves(const std::vector<Json>& rows) {
  double exact_most = 0, most = 0;
  for (const auto& row : rows)
    for (const double loss : row.at("curve")) {
      most = std::max(most, loss);
      if (is_exact(row)) exact_most = std::max(exact_most, loss);
    }
  const double top = std::min(most, 1.5 * exact_most) * 1.04;
  const Json* exact = nullptr;
  std::string out = "<div class=\"panels\">\n";
  for (const auto& row : rows) {
    const double first = row.at("scored_from"), last = row.at("curve_ends").back();
    constexpr double left = 26, right = 296, high = 8, low = 118;
    const auto line = [&](const Json& of, const char* kind) {
      std::string path;
      double begin = first;
      for (std::size_t i = 0; i < of.at("curve").size(); ++i) {
        const double end = of.at("curve_ends")[i], loss = std::min(of.at("curve")[i].get<double>(), top);
        path += fmt::format("{}{:.1f} {:.1f}", i == 0 ? "M" : "L", left + ((begin + end) / 2 - first) / (last - first) * (right - left),
                            low - loss / top * (low - high));
        begin = end;
      }
      return fmt::format("<path class=\"{}\" d=\"{}\"/>\n", kind, path);
    };
    out += fmt::format(
        "<div class=\"card\"><h3>{} <span class=\"given\">{}</span></h3><svg viewBox=\"0 0 300 134\" role=\"img\" aria-label=\"loss of "
        "{}\">\n",
        name_of(row), given_of(row), name_of(row));
    out += fmt::format(
        "<path class=\"axis\" d=\"M{0} {1}V{2}H{3}\"/><text x=\"{4}\" y=\"{5}\" text-anchor=\"end\">{6:.1f}</text><text x=\"{4}\" "
        "y=\"{2}\" text-anchor=\"end\">0</text>\n",
        left, high, low, right, left - 4, high + 6, top);
    out += fmt::format("<text x=\"{}\" y=\"131\">{:.0f}</text><text x=\"{}\" y=\"131\" text-anchor=\"end\">{:.0f}</text>\n", left, first,
                       right, last);
    if (is_exact(row))
      exact = &row;  // exact, or exact@P, over the same tokens stands before the ways
    else if (exact)
      out += line(*exact, "exact");
    out += line(row, is_exact(row) ? "exact" : "way") + "</svg></div>\n";
  }
  return out + "</div>\n";
}

std::string images(const std::vector<HeadMap>& maps) {
  std::string ramp;
  const auto colours = palette();
  for (const std::size_t i : {1u, 64u, 128u, 192u, 255u})
    ramp += fmt::format("{}rgb({} {} {})", ramp.empty() ? "" : ",", colours[i][0], colours[i][1], colours[i][2]);
  std::string out = fmt::format(
      "<div class=\"ramp\" style=\"background:linear-gradient(to right,{})\"></div><div class=\"rampends\"><span>{:g} or "
      "less</span><span>all of a query's weight</span></div>\n<div class=\"maps\">\n",
      ramp, faintest);
  for (const auto& map : maps)
    out += fmt::format(
        "<figure><img alt=\"attention of layer {0}, head {1}\" src=\"{2}\"><figcaption><b>layer {0}, head {1}</b>: looks "
        "{3}</figcaption></figure>\n",
        map.layer, map.head, image(map), map.role);
  return out + "</div>\n";
}

}  // namespace heed::app
