// SPDX-License-Identifier: Apache-2.0
#include "mechanism/params.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace heed::mechanism {
using nlohmann::json;

json parse_params(const std::string& text) {
  int deepest = 0;
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    deepest = std::max(deepest, depth);
    return depth <= 16;
  };
  const json value = json::parse(text, watch, false);
  if (value.is_discarded() || !value.is_object() || deepest > 16) fail("params", "a JSON object", text.substr(0, 80));
  return value;
}

namespace {

[[noreturn]] void wrong_type(const std::string& name, const char* expected, const json& value) {
  fail("parameter " + name, expected, value.dump());
}

void assign(const std::string& name, const json& value, bool* slot) {
  if (!value.is_boolean()) wrong_type(name, "true or false", value);
  *slot = value.get<bool>();
}
void assign(const std::string& name, const json& value, std::int64_t* slot) {
  if (!value.is_number_integer()) wrong_type(name, "an integer", value);
  // Products of two hold in 64 bits.
  if (std::abs(value.get<double>()) > 0x1p31) wrong_type(name, "an integer from -2^31 to 2^31", value);
  *slot = value.get<std::int64_t>();
}
void assign(const std::string& name, const json& value, double* slot) {
  if (!value.is_number()) wrong_type(name, "a number", value);
  *slot = value.get<double>();
}
void assign(const std::string& name, const json& value, std::string* slot) {
  if (!value.is_string()) wrong_type(name, "text", value);
  *slot = value.get<std::string>();
}
void assign(const std::string& name, const json& value, std::map<std::string, std::int64_t>* slot) {
  if (!value.is_object()) wrong_type(name, "an object of integers", value);
  slot->clear();
  for (const auto& [key, item] : value.items()) assign(name, item, &(*slot)[key]);
}
void assign(const std::string& name, const json& value, Choice* slot) {
  if (value.is_boolean())
    *slot = value.get<bool>();
  else if (value.is_string())
    *slot = value.get<std::string>();
  else
    wrong_type(name, "true, false or text", value);
}
template <class T>
void assign(const std::string& name, const json& value, std::vector<T>* slot) {
  if (value.is_null() || value.is_object()) wrong_type(name, "a list", value);
  const json list = value.is_array() ? value : json::array({value});
  slot->clear();
  for (const json& item : list) {
    T one{};
    assign(name, item, &one);
    slot->push_back(std::move(one));
  }
}

template <class T>
void assign(const std::string& name, const json& value, std::optional<T>* slot) {
  if (value.is_null()) return slot->reset();
  T inner{};
  assign(name, value, &inner);
  *slot = inner;
}

template <class T>
json to_json(const T& value) {
  return value;
}
template <class T>
json to_json(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json to_json(const Choice& value) {
  return std::visit([](const auto& held) { return json(held); }, value);
}

template <class T>
struct Type;
template <>
struct Type<bool> {
  static std::string name() { return "bool"; }
};
template <>
struct Type<std::int64_t> {
  static std::string name() { return "int"; }
};
template <>
struct Type<double> {
  static std::string name() { return "float"; }
};
template <>
struct Type<std::string> {
  static std::string name() { return "text"; }
};
template <>
struct Type<Choice> {
  static std::string name() { return "bool or text"; }
};
template <>
struct Type<std::map<std::string, std::int64_t>> {
  static std::string name() { return "map of int"; }
};
template <class T>
struct Type<std::vector<T>> {
  static std::string name() { return "list of " + Type<T>::name(); }
};
template <class T>
struct Type<std::optional<T>> {
  static std::string name() { return Type<T>::name() + " or null"; }
};

}  // namespace

std::string type_of(const ParamEntry& param) {
  return std::visit([]<class T>(T*) { return Type<T>::name(); }, param.slot);
}

json value_of(const ParamEntry& param) {
  return std::visit([](auto* slot) { return to_json(*slot); }, param.slot);
}

namespace {

void check_range(const ParamEntry& param) {
  const json value = value_of(param);
  const auto check = [&](const json& item) {
    if (!item.is_number()) return;
    const double number = item.get<double>();
    if (!std::isfinite(number)) fail("parameter " + param.name, "a finite number", std::to_string(number));
    if (param.least_value && number < *param.least_value)
      fail("parameter " + param.name, "at least " + in_digits(*param.least_value), item.dump());
    if (param.most_value && number > *param.most_value)
      fail("parameter " + param.name, "at most " + in_digits(*param.most_value), item.dump());
  };
  if (value.is_array())
    std::for_each(value.begin(), value.end(), check);
  else
    check(value);
  const auto known = [&](const json& item) {
    if (item.is_null() || std::find(param.choices.begin(), param.choices.end(), item.get<std::string>()) != param.choices.end()) return;
    fail("parameter " + param.name, "one of " + json(param.choices).dump(), item.dump());
  };
  if (param.choices.empty()) return;
  if (value.is_array())
    std::for_each(value.begin(), value.end(), known);
  else
    known(value);
}

}  // namespace

Declaration declare(Mechanism& body, const json& params) {
  Declaration first;
  body.describe(first);
  for (const auto& item : params.items()) {
    const std::string& name = item.key();
    const json& value = item.value();
    const auto found = std::find_if(first.params.begin(), first.params.end(), [&](const auto& p) { return p->name == name; });
    if (found == first.params.end()) {
      std::string known;
      for (const auto& p : first.params) known += (known.empty() ? "" : ", ") + p->name;
      fail("parameter " + name, known.empty() ? "no parameters" : "one of " + known, value.dump().substr(0, 60));
    }
    std::visit([&](auto* slot) { assign(name, value, slot); }, (*found)->slot);
    check_range(**found);
  }
  Declaration second;
  body.describe(second);
  return second;
}

Symbols symbols_of(const Declaration& d) {
  Symbols symbols;
  for (const auto& param : d.params) {
    const json value = value_of(*param);
    if (value.is_number()) symbols[param->name] = value.get<double>();
    if (value.is_boolean()) symbols[param->name] = value.get<bool>();
  }
  return symbols;
}

}  // namespace heed::mechanism
