// SPDX-License-Identifier: Apache-2.0
#include "mechanism/sizes.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "mechanism/params.h"

namespace heed::mechanism {
namespace {

using Names = std::set<std::string>;

const std::map<std::string, Names>& kinds() {
  static const std::map<std::string, Names> names{
      {"B", {}},
      {"N", {"M", "T", "L", "S", "Nq", "Nk", "Lq", "Ld", "num_patches"}},
      {"heads", {"n_heads", "num_heads", "num_attention_heads", "head_count", "Hq", "G", "Hk", "HK", "KV", "num_kv_heads"}},
      {"D", {"E", "d", "d_kv", "head_dim", "dim_head", "attention_head_size"}},
      {"C", {"dim", "channel", "channels", "gate_channels", "in_channels", "d_model", "embed_dim", "hidden_size", "input_dim"}}};
  return names;
}

/// The symbols of an expression: names that no "(" follows.
Names symbols_in(const std::string& expression) {
  Names names;
  for (std::size_t at = 0; at < expression.size();) {
    const auto letter = [&](std::size_t i) {
      return i < expression.size() && (std::isalnum(static_cast<unsigned char>(expression[i])) || expression[i] == '_');
    };
    std::size_t end = at;
    while (letter(end)) ++end;
    if (end == at) {
      ++at;
      continue;
    }
    if (!std::isdigit(static_cast<unsigned char>(expression[at])) && (end == expression.size() || expression[end] != '('))
      names.insert(expression.substr(at, end - at));
    at = end;
  }
  return names;
}

}  // namespace

std::string Sizes::kind_of(const std::string& symbol) const {
  if (symbol == "H" || symbol == "W") return map_ ? symbol : symbol == "H" ? "heads" : "";
  for (const auto& [kind, names] : kinds())
    if (symbol == kind || names.count(symbol)) return kind;
  return "";
}

Sizes::Given Sizes::plain(const Declaration& d, Given given) {
  const bool maps = Sizes(d, {}).map_;
  if (maps || !given.count("H")) return given;
  const std::int64_t H = given["H"];
  given.erase("H");
  if (const auto W = given.find("W"); W != given.end()) {
    given.emplace("N", H * W->second);
    given.erase(W);
  } else {
    given.emplace("heads", H);
  }
  return given;
}

Sizes::Sizes(const Declaration& d, const Given& given) : d_(d), given_(given), symbols_(symbols_of(d)) {
  Names known;
  for (const auto& entry : d.tensors) {
    if (!entry->present) continue;
    for (const std::string& word : words(entry->shape)) {
      map_ = map_ || (word == "W" && entry->role == TensorEntry::Role::input);
      known.merge(symbols_in(word));
    }
  }
  for (const auto& [symbol, text] : d.sizes) {
    known.merge(symbols_in(symbol));
    known.merge(symbols_in(text));
  }
  for (const auto& [name, size] : given) {
    if (size < 0 || size > (std::int64_t{1} << 31)) fail("size " + name, "0 to 2^31", std::to_string(size));
    const std::string kind = kind_of(name);
    const auto parameter = symbols_.find(name);
    if (parameter != symbols_.end() && name != kind && parameter->second != double(size))
      fail("size " + name, "the parameter's " + std::to_string(std::int64_t(parameter->second)), std::to_string(size));
    if (!known.count(name) && kind.empty()) {
      std::string names;
      for (const auto& each : known) names += (names.empty() ? "" : ", ") + each;
      fail("size " + name, "one of " + names, "an unknown name");
    }
  }
}

double Sizes::usual(const std::string& kind) {
  if (const auto found = given_.find(kind); found != given_.end()) return double(found->second);
  if (kind == "B") return 1;
  if (kind == "N") return 1024;
  if (kind == "D") return 64;
  if (kind == "H" || kind == "W") return given_.count("N") ? std::max(1.0, std::round(std::sqrt(double(given_["N"])))) : 56;
  if (kind == "C") return map_ && !given_.count("heads") && !given_.count("D") ? 256 : usual("heads") * usual("D");
  for (const char* name : {"heads", "n_heads", "num_heads", "num_attention_heads"})
    if (const auto found = symbols_.find(name); found != symbols_.end()) return found->second;
  return 8;
}

double Sizes::of(const std::string& symbol) {
  if (const auto found = symbols_.find(symbol); found != symbols_.end()) return found->second;
  const std::string kind = kind_of(symbol);
  const auto said = std::find_if(d_.sizes.begin(), d_.sizes.end(), [&](const auto& s) { return s.first == symbol; });
  if (!pending_.insert(symbol).second) {  // "max(N,64)" as the size of N
    if (kind.empty()) fail("size " + symbol, "a number", "one that depends on itself");
    return usual(kind);
  }
  double size = 0;
  if (const auto found = given_.find(symbol); found != given_.end())
    size = double(found->second);
  else if (said != d_.sizes.end())
    size = value(said->second);
  else if (kind == "B" || kind == "N")
    size = symbol == kind ? usual(kind) : of(kind);  // what is said of N holds for M
  else if (!kind.empty())
    size = usual(kind);
  else
    fail("size " + symbol, "a number: nothing says how large it is", "none");
  pending_.erase(symbol);
  return symbols_[symbol] = size;
}

double Sizes::value(const std::string& expression) {
  Symbols at;
  for (const auto& name : symbols_in(expression)) at[name] = of(name);
  const auto found = evaluate(expression, at);
  if (!found) fail("size", "an expression of known symbols", "'" + expression + "'");
  return *found;
}

std::vector<std::int64_t> Sizes::shape(const std::string& text) {
  std::vector<std::int64_t> extents;
  for (const std::string& word : words(text)) {
    if (word[0] != '*') {
      extents.push_back(whole("size " + word, value(word)));
      continue;
    }
    const std::string name = word.substr(1);
    const auto said = std::find_if(d_.sizes.begin(), d_.sizes.end(), [&](const auto& s) { return s.first == word; });
    if (const auto found = given_.find(name); found != given_.end())
      extents.push_back(found->second);
    else if (said != d_.sizes.end())
      for (const auto extent : shape(said->second)) extents.push_back(extent);
    else
      fail("size " + name, "extents: nothing says what they are", "none");
  }
  return extents;
}

}  // namespace heed::mechanism
