// SPDX-License-Identifier: Apache-2.0
// From a declaration alone: parameters, checks, the run, the description. JSON stays in this file.
#include "heed/catalogue.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "heed/safetensors.h"
#include "mechanism/extent.h"
#include "mechanism/registry.h"
#include "ops/ops.h"

namespace heed {
inline namespace v0 {
namespace {

using mechanism::Declaration;
using mechanism::Entry;
using mechanism::ParamEntry;
using mechanism::TensorEntry;
using nlohmann::json;
using Role = TensorEntry::Role;

const std::vector<Entry>& sorted_entries() {
  static const std::vector<Entry> sorted = [] {
    auto entries = mechanism::entries();
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.slug < b.slug; });
    return entries;
  }();
  return sorted;
}

const Entry& find(const std::string& slug) {
  for (const auto& entry : sorted_entries())
    if (entry.slug == slug) return entry;
  fail("mechanism", "a slug of `heed list`", "'" + slug + "'");
}

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

[[noreturn]] void wrong_type(const std::string& name, const char* expected, const json& value) {
  fail("parameter " + name, expected, value.dump());
}

void assign(const std::string& name, const json& value, bool* slot) {
  if (!value.is_boolean()) wrong_type(name, "true or false", value);
  *slot = value.get<bool>();
}
void assign(const std::string& name, const json& value, std::int64_t* slot) {
  if (!value.is_number_integer()) wrong_type(name, "an integer", value);
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
template <class T>
void assign(const std::string& name, const json& value, std::optional<T>* slot) {
  if (value.is_null()) return slot->reset();
  T inner{};
  assign(name, value, &inner);
  *slot = inner;
}
template <class T>
void assign(const std::string& name, const json& value, std::vector<T>* slot) {
  if (!value.is_array()) wrong_type(name, "a list", value);
  slot->assign(value.size(), T{});
  for (std::size_t i = 0; i < value.size(); ++i) assign(name, value[i], &(*slot)[i]);
}

template <class T>
json to_json(const T& value) { return value; }
template <class T>
json to_json(const std::optional<T>& value) { return value ? json(*value) : json(nullptr); }

json value_of(const ParamEntry& param) {
  return std::visit([](auto* slot) { return to_json(*slot); }, param.slot);
}

void check_range(const ParamEntry& param) {
  const json value = value_of(param);
  const auto check = [&](const json& item) {
    if (!item.is_number()) return;
    const double number = item.get<double>();
    if (!std::isfinite(number)) fail("parameter " + param.name, "a finite number", std::to_string(number));
    if (param.least_value && number < *param.least_value) fail("parameter " + param.name, "at least " + json(*param.least_value).dump(), item.dump());
    if (param.most_value && number > *param.most_value) fail("parameter " + param.name, "at most " + json(*param.most_value).dump(), item.dump());
  };
  if (value.is_array()) std::for_each(value.begin(), value.end(), check);
  else check(value);
  if (!param.choices.empty() && std::find(param.choices.begin(), param.choices.end(), value.get<std::string>()) == param.choices.end())
    fail("parameter " + param.name, "one of " + json(param.choices).dump(), value.dump());
}

Declaration declare(mechanism::Mechanism& body, const json& params) {
  Declaration first;
  body.describe(first);
  for (const auto& [name, value] : params.items()) {
    const auto found = std::find_if(first.params.begin(), first.params.end(), [&](const auto& p) { return p->name == name; });
    if (found == first.params.end()) {
      std::string known;
      for (const auto& p : first.params) known += (known.empty() ? "" : ", ") + p->name;
      fail("parameter " + name, known.empty() ? "no parameters" : "one of " + known, value.dump().substr(0, 60));
    }
    std::visit([&, &v = value](auto* slot) { assign((*found)->name, v, slot); }, (*found)->slot);
    check_range(**found);
  }
  Declaration second;
  body.describe(second);
  return second;
}

mechanism::Symbols symbols_of(const Declaration& d) {
  mechanism::Symbols symbols;
  for (const auto& param : d.params) {
    const json value = value_of(*param);
    if (value.is_number()) symbols[param->name] = value.get<double>();
    if (value.is_boolean()) symbols[param->name] = value.get<bool>();
  }
  return symbols;
}

const char* role_name(Role role) { return role == Role::input ? "input" : role == Role::weight ? "weight" : "output"; }

void take(Declaration& d, Role role, const Tensors& given, mechanism::Symbols& symbols) {
  for (const auto& [name, tensor] : given) {
    const auto known = std::any_of(d.tensors.begin(), d.tensors.end(),
                                   [&, &n = name](const auto& e) { return e->role == role && e->present && e->name == n; });
    if (!known) {
      std::string names;
      for (const auto& e : d.tensors)
        if (e->role == role && e->present) names += (names.empty() ? "" : ", ") + e->name;
      fail(std::string(role_name(role)) + " " + name, names.empty() ? "none" : "one of " + names, "an unknown name");
    }
  }
  for (auto& entry : d.tensors) {
    if (entry->role != role || !entry->present) continue;
    const std::string label = std::string(role_name(role)) + " " + entry->name;
    const auto found = given.find(entry->name);
    if (found == given.end()) {
      if (entry->required) fail(label, "a tensor of shape (" + entry->shape + ")", "none");
      continue;
    }
    const Tensor& tensor = found->second;
    const bool is_float = entry->dtype == DType::f32;
    const bool given_float = tensor.dtype() == DType::f32 || tensor.dtype() == DType::bf16 || tensor.dtype() == DType::f16;
    const bool mask = entry->dtype == DType::boolean && tensor.dtype() == DType::u8;
    if (is_float ? !given_float : tensor.dtype() != entry->dtype && !mask) fail(label, std::string("dtype ") + name_of(entry->dtype), name_of(tensor.dtype()));
    mechanism::match(label, entry->shape, tensor.shape(), symbols);
    *entry->tensor = is_float || mask ? tensor.to(entry->dtype) : tensor;
  }
}

}  // namespace

std::vector<MechanismInfo> list_mechanisms() {
  std::vector<MechanismInfo> list;
  for (const auto& e : sorted_entries()) list.push_back({e.slug, e.family, e.kind, e.tier, e.paper});
  return list;
}

std::string describe_mechanism(const std::string& slug) {
  const auto& entry = find(slug);
  const auto body = entry.make();
  Declaration d;
  body->describe(d);
  json result = {{"slug", entry.slug}, {"family", entry.family}, {"kind", entry.kind}, {"tier", entry.tier},
                 {"paper", entry.paper.empty() ? json(nullptr) : json(entry.paper)},
                 {"inputs", json::array()}, {"weights", json::array()}, {"params", json::array()}, {"outputs", json::array()}};
  for (const auto& e : d.tensors)
    result[std::string(role_name(e->role)) + "s"].push_back({{"name", e->name}, {"shape", e->shape}, {"dtype", name_of(e->dtype)},
                                                             {"doc", e->doc}, {"required", e->required}, {"when", e->condition}});
  for (const auto& p : d.params) {
    json item = {{"name", p->name}, {"default", value_of(*p)}, {"doc", p->doc}};
    if (!p->computed_as.empty()) item["computed"] = p->computed_as;
    if (!p->choices.empty()) item["choices"] = p->choices;
    result["params"].push_back(item);
  }
  return result.dump(2);
}

Tensors run(const std::string& slug, const Tensors& inputs, const Tensors& weights, const std::string& params,
            const std::vector<std::string>& outputs, const Context& context) {
  const auto body = find(slug).make();
  auto d = declare(*body, parse_params(params));
  auto symbols = symbols_of(d);
  take(d, Role::input, inputs, symbols);
  take(d, Role::weight, weights, symbols);
  auto names = outputs;
  if (names.empty()) names = {"out"};
  for (const auto& name : names) {
    const auto found = std::find_if(d.tensors.begin(), d.tensors.end(),
                                    [&](const auto& e) { return e->role == Role::output && e->present && e->name == name; });
    if (found == d.tensors.end()) fail("output " + name, "an output of " + slug, "an unknown name");
    body->wanted.insert((*found)->tensor);
  }
  Ops ops(context);
  body->run(ops);
  Tensors result;
  for (const auto& entry : d.tensors) {
    if (entry->role != Role::output || std::find(names.begin(), names.end(), entry->name) == names.end()) continue;
    if (!entry->tensor->defined()) fail("output " + entry->name, "an output that these inputs give", "none");
    result[entry->name] = entry->tensor->dense();
  }
  return result;
}

std::vector<OutputError> verify(const std::string& path, const Context& context) {
  const auto file = read_safetensors(path);
  const auto meta = [&](const std::string& key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail(path, "metadata '" + key + "'", "none");
    return found->second;
  };
  const auto number = [&](const std::string& key) {
    char* end = nullptr;
    const std::string text = meta(key);
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end || !(value >= 0) || !std::isfinite(value)) fail(path + ": " + key, "a number of 0 or more", "'" + text + "'");
    return value;
  };
  const double rtol = number("rtol"), atol = number("atol");
  Tensors inputs, weights, wanted;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.rfind("in.", 0) == 0) inputs[name.substr(3)] = tensor;
    else if (name.rfind("weight.", 0) == 0) weights[name.substr(7)] = tensor;
    else if (name.rfind("out.", 0) == 0) wanted[name.substr(4)] = tensor, names.push_back(name.substr(4));
    else if (name.rfind("grad.", 0) != 0 && name.rfind("cotangent.", 0) != 0) fail(path + ": " + name, "in., weight., out., grad. or cotangent. names", "another");
  }
  if (names.empty()) fail(path, "at least one out. tensor", "none");
  const auto got = run(meta("mechanism"), inputs, weights, meta("params"), names, context);
  std::vector<OutputError> errors;
  for (const auto& [name, want_tensor] : wanted) {
    const Tensor& output = got.at(name);
    OutputError error{name, 0, 0, true};
    const bool floats = want_tensor.dtype() == DType::f32 || want_tensor.dtype() == DType::bf16 || want_tensor.dtype() == DType::f16;
    if (output.shape() != want_tensor.shape()) fail(path + ": out." + name, "shape " + output.shape().text(), want_tensor.shape().text());
    if (!floats) {
      const Tensor g = output.to(DType::i64), w = want_tensor.to(DType::i64);
      for (std::int64_t i = 0; i < w.count(); ++i) {
        const double off = std::abs(double(g.data<std::int64_t>()[i]) - double(w.data<std::int64_t>()[i]));
        error.max_absolute = std::max(error.max_absolute, off);
        error.passed = error.passed && off == 0;
      }
    } else {
      const Tensor g = output.to(DType::f32), w = want_tensor.to(DType::f32);
      for (std::int64_t i = 0; i < w.count(); ++i) {
        const double a = g.data<float>()[i], b = w.data<float>()[i];
        if (a == b) continue;
        const double off = std::abs(a - b);
        error.passed = error.passed && off <= atol + rtol * std::abs(b);
        error.max_absolute = std::isnan(off) ? off : std::max(error.max_absolute, off);
        if (b != 0) error.max_relative = std::max(error.max_relative, off / std::abs(b));
      }
    }
    errors.push_back(error);
  }
  return errors;
}

}  // namespace v0
}  // namespace heed
