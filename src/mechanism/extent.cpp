// SPDX-License-Identifier: Apache-2.0
#include "mechanism/extent.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <sstream>

namespace heed::mechanism {
namespace {

class Parser {
 public:
  Parser(const std::string& text, const Symbols& symbols) : text_(text), symbols_(symbols) {}

  std::optional<double> all() {
    const double value = sum();
    if (at_ != text_.size()) bad();
    return bound_ ? std::optional(value) : std::nullopt;
  }

 private:
  [[noreturn]] void bad() const { fail("shape expression", "a sum of products of symbols", "'" + text_ + "'"); }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  double sum() {
    double value = product();
    for (;;) {
      if (take('+'))
        value += product();
      else if (take('-'))
        value -= product();
      else
        return value;
    }
  }
  double product() {
    double value = atom();
    for (;;) {
      if (take('*'))
        value *= atom();
      else if (take('/')) {
        const bool whole = take('/');
        value /= atom();
        if (whole) value = std::floor(value);
      } else if (take('%'))
        value = std::fmod(value, atom());
      else
        return value;
    }
  }
  double atom() {
    if (take('-')) return -atom();
    if (take('(')) {
      const double value = sum();
      if (!take(')')) bad();
      return value;
    }
    std::string token;
    while (std::isalnum(static_cast<unsigned char>(peek())) || peek() == '_' || peek() == '.') token += text_[at_++];
    if (token.empty()) bad();
    if (std::isdigit(static_cast<unsigned char>(token[0]))) return std::stod(token);
    if (take('(')) return call(token);
    const auto found = symbols_.find(token);
    if (found != symbols_.end()) return found->second;
    bound_ = false;
    return 1;
  }
  double call(const std::string& function) {
    std::vector<double> values{sum()};
    while (take(',')) values.push_back(sum());
    if (!take(')')) bad();
    if (function == "int" || function == "floor") return std::floor(values[0]);
    if (function == "ceil") return std::ceil(values[0]);
    if (function == "sqrt") return std::sqrt(values[0]);
    if (values.size() == 2 && function == "min") return std::min(values[0], values[1]);
    if (values.size() == 2 && function == "max") return std::max(values[0], values[1]);
    bad();
  }

  const std::string& text_;
  const Symbols& symbols_;
  std::size_t at_ = 0;
  bool bound_ = true;
};

bool is_symbol(const std::string& word) {
  for (char c : word)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  return !word.empty() && !std::isdigit(static_cast<unsigned char>(word[0]));
}

}  // namespace

std::optional<double> evaluate(const std::string& expression, const Symbols& symbols) { return Parser(expression, symbols).all(); }

std::int64_t whole(const std::string& name, double value) {
  if (!(std::abs(value) <= 9007199254740992.0)) fail(name, "a number up to 2^53", std::to_string(value));
  return std::int64_t(std::floor(value));
}

std::string in_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, std::abs(value) < 1e15 && value == std::floor(value) ? "%.0f" : "%g", value);
  return text;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

void match(const std::string& name, const std::string& pattern, const Shape& shape, Symbols& symbols) {
  const auto parts = words(pattern);
  const auto wrong = [&](const std::string& why) { fail(name, "shape (" + pattern + ")" + why, shape.text()); };
  int star = -1;
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i][0] == '*') star = int(i);
  const int extra = shape.rank() - int(parts.size());
  if (star < 0 ? extra != 0 : extra < -1) wrong("");
  for (int i = 0; i < int(parts.size()); ++i) {
    if (i == star) continue;
    const auto& part = parts[std::size_t(i)];
    const auto extent = shape[star >= 0 && i > star ? i + extra : i];
    const auto expected = evaluate(part, symbols);
    if (!expected && is_symbol(part))
      symbols[part] = double(extent);
    else if (const auto times = part.find('*'); !expected && times != std::string::npos && is_symbol(part.substr(times + 1))) {
      const auto factor = evaluate(part.substr(0, times), symbols);  // a known number times a free symbol
      if (!factor || *factor < 1 || std::floor(*factor) != *factor) continue;
      if (std::fmod(double(extent), *factor) != 0)
        wrong(", a multiple of " + part.substr(0, times) + " = " + std::to_string(std::int64_t(*factor)));
      symbols[part.substr(times + 1)] = double(extent) / *factor;
    } else if (expected && *expected != double(extent))
      wrong(" with " + part + " = " + in_digits(*expected));
  }
}

}  // namespace heed::mechanism
