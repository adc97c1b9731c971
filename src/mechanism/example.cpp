// SPDX-License-Identifier: Apache-2.0
// Random tensors that a mechanism takes, from its declaration alone.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "heed/catalogue.h"
#include "mechanism/bind.h"
#include "mechanism/params.h"
#include "mechanism/registry.h"
#include "mechanism/sizes.h"

namespace heed {
inline namespace v0 {
namespace {

using mechanism::Declaration;
using mechanism::Sizes;
using mechanism::TensorEntry;
using nlohmann::json;
using Role = TensorEntry::Role;

Tensor draw(const TensorEntry& entry, const std::string& name, Sizes& sizes, const base::Random& random) {
  const bool floats = entry.dtype == DType::f32;
  Tensor t(floats ? DType::f32 : DType::i64, Shape(sizes.shape(entry.shape)));
  const auto write = [&](std::int64_t i, double value) {
    if (floats)
      t.data<float>()[i] = float(value);
    else
      t.data<std::int64_t>()[i] = mechanism::whole("input " + name, value);
  };
  if (!entry.filled.empty()) {
    mechanism::Symbols at = sizes.symbols();
    const auto each = std::int64_t(entry.filled.size());
    for (std::int64_t i = 0; i < t.count(); ++i) {
      at["i"] = double(i / each);
      const auto value = mechanism::evaluate(entry.filled[std::size_t(i % each)], at);
      if (!value) fail("input " + name, "an example of known symbols", entry.filled[std::size_t(i % each)]);
      write(i, *value);
    }
  } else if (!entry.most.empty() || !floats) {
    const double least = entry.least.empty() ? 0 : sizes.value(entry.least), most = entry.most.empty() ? 1 : sizes.value(entry.most);
    const double span = most - least + (floats ? 0 : 1);
    for (std::int64_t i = 0; i < t.count(); ++i) write(i, least + span * random.uniform(std::uint64_t(i)));
  } else {
    for (std::int64_t i = 0; i < t.count(); ++i) write(i, random.normal(std::uint64_t(i)));
  }
  return t.dtype() == entry.dtype ? t : t.to(entry.dtype);
}

/// Parameters as given, those that examples need, and those that the sizes given speak of: heads and widths besides a size's own name.
json parameters(const Declaration& d, json params, const Sizes::Given& given) {
  for (const auto& p : d.params)
    if (!p->sample.empty() && !params.contains(p->name)) params[p->name] = json::parse(p->sample);
  const Sizes names(d, {});
  const auto size = [&](const std::string& kind) -> std::optional<std::int64_t> {
    if (const auto found = given.find(kind); found != given.end()) return found->second;
    if (kind == "C" && given.count("heads") && given.count("D")) return given.at("heads") * given.at("D");
    return std::nullopt;
  };
  for (const auto& p : d.params) {
    if (params.contains(p->name)) continue;
    const json value = mechanism::value_of(*p);
    const std::string kind = names.kind_of(p->name);
    if (const auto own = given.find(p->name); own != given.end() && (kind != p->name || kind == "heads")) {
      params[p->name] = own->second;
    } else if (const auto meant = size(kind); meant && value.is_number_integer() && (kind == "heads" || kind == "D" || kind == "C")) {
      const bool shared = p->name.find("kv") != std::string::npos;
      params[p->name] = shared ? std::min(*meant, value.get<std::int64_t>()) : *meant;
    }
  }
  return params;
}

}  // namespace

Example example(const std::string& slug, const std::map<std::string, std::int64_t>& sizes, const std::string& params,
                const std::vector<std::string>& with, DType dtype, std::uint64_t seed) {
  const json given = mechanism::parse_params(params);
  const auto untouched = mechanism::configure(slug, params);
  Declaration first;
  untouched->describe(first);
  const Sizes::Given plain_sizes = Sizes::plain(first, sizes);
  const json wanted = parameters(first, given, plain_sizes);
  const auto body = mechanism::configure(slug, wanted.dump());
  Declaration d;
  body->describe(d);
  Sizes of(d, plain_sizes);
  Example result;
  json effective = json::object();
  for (const auto& p : d.params) effective[p->name] = mechanism::value_of(*p);
  result.params = effective.dump();
  std::set<std::string> missing(with.begin(), with.end());
  std::uint64_t stream = 1u << 20;  // apart from the weights'
  for (const auto& entry : d.tensors) {
    if (entry->role != Role::input || !entry->present) continue;
    std::vector<std::string> names = entry->samples;
    for (const auto& name : with)
      if (entry->many ? mechanism::fits(entry->name, name) : name == entry->name) names.push_back(name), missing.erase(name);
    if (entry->required && names.empty()) names = {entry->name};
    for (const auto& name : names) result.inputs[name] = draw(*entry, name, of, base::Random(seed, stream++));
  }
  if (!missing.empty()) fail("input " + *missing.begin(), "an optional input of " + slug + " under these parameters", "none of that name");
  for (const auto& entry : d.tensors)
    if (entry->role == Role::weight && entry->present && (entry->required || !entry->samples.empty())) of.shape(entry->shape);
  result.weights = mechanism::starting_weights(d, of.symbols(), seed);
  for (auto* group : {&result.inputs, &result.weights})
    for (auto& [name, tensor] : *group)
      if (tensor.dtype() == DType::f32 && dtype != DType::f32) tensor = tensor.to(dtype);
  for (const auto& [symbol, size] : of.symbols())
    if (!effective.contains(symbol) || effective[symbol].is_null()) result.sizes[symbol] = mechanism::whole("size " + symbol, size);
  return result;
}

}  // namespace v0
}  // namespace heed
