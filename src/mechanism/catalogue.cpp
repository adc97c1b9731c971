// SPDX-License-Identifier: Apache-2.0
// From a declaration alone: the list, the description, the run.
#include "heed/catalogue.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "heed/ops.h"
#include "mechanism/bind.h"
#include "mechanism/params.h"
#include "mechanism/registry.h"

namespace heed {
inline namespace v0 {
namespace {

using mechanism::Declaration;
using mechanism::Entry;
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

/// The tensors of `given` that gradients are wanted of as leaves, which also go to `leaves`.
Tensors with_leaves(const Declaration& d, Role role, Tensors given, const std::vector<std::string>& of, Tensors& leaves) {
  const std::string prefix = role == Role::input ? "in." : "weight.";
  for (const std::string& name : of) {
    if (name.rfind(prefix, 0) != 0) continue;
    const std::string plain = name.substr(prefix.size());
    const auto at = given.find(plain);
    const TensorEntry* entry = mechanism::entry_of(d, role, plain);
    if (at == given.end() || !entry) fail("gradient of " + name, "a tensor that was given", "none");
    if (!entry->gradient) fail("gradient of " + name, "a tensor that has a gradient", "one declared without");
    at->second = leaf(at->second.to(DType::f32));
    leaves[name] = at->second;
  }
  return given;
}

/// The outputs asked for, with their origins.
Tensors execute(const Entry& entry, const Tensors& inputs, const Tensors& weights, const std::string& params,
                std::vector<std::string> names, const std::vector<std::string>& of, Tensors& leaves, const Context& context) {
  const auto body = entry.make();
  auto d = mechanism::declare(*body, mechanism::parse_params(params));
  if (!of.empty() && !d.gradient_refused.empty())
    fail("gradient of " + of[0], "a mechanism with gradients", entry.slug + ": " + d.gradient_refused);
  for (const std::string& name : of)
    if (name.rfind("in.", 0) != 0 && name.rfind("weight.", 0) != 0) fail("gradient of " + name, "in.NAME or weight.NAME", "'" + name + "'");
  auto symbols = mechanism::symbols_of(d);
  mechanism::take(d, Role::input, with_leaves(d, Role::input, inputs, of, leaves), symbols);
  mechanism::take(
      d, Role::weight,
      with_leaves(d, Role::weight, weights.empty() ? mechanism::starting_weights(d, symbols, context.seed) : weights, of, leaves), symbols);
  if (names.empty()) names = {"out"};
  for (const auto& name : names) {
    const TensorEntry* output = mechanism::entry_of(d, Role::output, name);
    if (!output) fail("output " + name, "an output of " + entry.slug, "an unknown name");
    body->wanted.insert(output->many ? static_cast<const void*>(output->many) : output->tensor);
  }
  Context own = context;  // products of bf16 are too coarse for numbers of f16; attention has its own for them
  for (const auto& [name, tensor] : inputs)
    if (tensor.dtype() == DType::f16 && own.precision == Precision::fast) own.precision = Precision::automatic;
  Ops ops(own);
  body->run(ops);
  Tensors result;
  for (const auto& name : names) {
    const TensorEntry* output = mechanism::entry_of(d, Role::output, name);
    const auto tensor = [&] {
      if (!output->many) return *output->tensor;
      const auto found = output->many->find(name);
      return found == output->many->end() ? Tensor() : found->second;
    }();
    if (!tensor.defined()) fail("output " + name, "an output that these inputs give", "none");
    result[name] = tensor.dense();
  }
  return result;
}

}  // namespace

std::vector<MechanismInfo> list_mechanisms() {
  std::vector<MechanismInfo> list;
  for (const auto& e : sorted_entries())
    list.push_back({e.slug, e.family, e.kind, e.tier, e.paper, dynamic_cast<mechanism::Mixer*>(e.make().get()) != nullptr});
  return list;
}

std::string describe_mechanism(const std::string& slug, const std::string& params) {
  const auto& entry = find(slug);
  const auto body = entry.make(), untouched = entry.make();
  const auto d = mechanism::declare(*body, mechanism::parse_params(params));
  Declaration defaults;
  untouched->describe(defaults);
  json result = {{"slug", entry.slug},
                 {"family", entry.family},
                 {"kind", entry.kind},
                 {"tier", entry.tier},
                 {"paper", entry.paper.empty() ? json(nullptr) : json(entry.paper)},
                 {"inputs", json::array()},
                 {"weights", json::array()},
                 {"params", json::array()},
                 {"outputs", json::array()},
                 {"ignored", d.ignored}};
  for (const auto& [symbol, text] : d.sizes) result["sizes"][symbol] = text;
  for (const auto& e : d.tensors)
    result[std::string(mechanism::role_name(e->role)) + "s"].push_back({{"name", e->name},
                                                                        {"shape", e->shape},
                                                                        {"dtype", name_of(e->dtype)},
                                                                        {"doc", e->doc},
                                                                        {"required", e->required},
                                                                        {"repeated", e->many != nullptr},
                                                                        {"gradient", e->gradient && d.gradient_refused.empty()},
                                                                        {"when", e->condition},
                                                                        {"present", e->present}});
  for (const auto& p : defaults.params) {
    json item = {{"name", p->name}, {"type", mechanism::type_of(*p)}, {"default", mechanism::value_of(*p)}, {"doc", p->doc}};
    if (!p->computed_as.empty()) item["computed"] = p->computed_as;
    if (!p->choices.empty()) item["choices"] = p->choices;
    result["params"].push_back(item);
  }
  return result.dump(2);
}

void check_params(const std::string& slug, const std::string& params) {
  const auto body = find(slug).make();
  mechanism::declare(*body, mechanism::parse_params(params));
}

Tensors run(const std::string& slug, const Tensors& inputs, const Tensors& weights, const std::string& params,
            const std::vector<std::string>& outputs, const Context& context) {
  Tensors leaves;
  return execute(find(slug), inputs, weights, params, outputs, {}, leaves, context);
}

Recording record(const std::string& slug, const Tensors& inputs, const Tensors& weights, const std::vector<std::string>& of,
                 const std::string& params, const std::vector<std::string>& outputs, const Context& context) {
  Recording recording;
  recording.context_ = context;
  recording.graph_ = execute(find(slug), inputs, weights, params, outputs, of, recording.wanted_, context);
  for (const auto& [name, tensor] : recording.graph_) recording.outputs[name] = tensor.with_origin(nullptr);
  return recording;
}

Tensors Recording::gradients(const Tensors& cotangents) const {
  std::vector<Tensor> from, along, of;
  for (const auto& [name, cotangent] : cotangents) {
    const auto output = graph_.find(name);
    if (output == graph_.end()) fail("cotangent " + name, "an output of the run", "an unknown name");
    if (output->second.dtype() != DType::f32) fail("cotangent " + name, "a float output", name_of(output->second.dtype()));
    from.push_back(output->second);
    along.push_back(cotangent.to(DType::f32));
  }
  for (const auto& [name, tensor] : wanted_) of.push_back(tensor);
  const auto found = heed::gradients(Ops(context_, false), from, along, of);
  Tensors result;
  std::size_t i = 0;
  for (const auto& [name, tensor] : wanted_) result[name] = found[i++].dense();
  return result;
}

Tensors initial_weights(const std::string& slug, const Tensors& inputs, const std::string& params, const Context& context) {
  const auto body = find(slug).make();
  auto d = mechanism::declare(*body, mechanism::parse_params(params));
  auto symbols = mechanism::symbols_of(d);
  for (const auto& [name, tensor] : inputs)
    if (const TensorEntry* entry = mechanism::entry_of(d, Role::input, name))
      mechanism::match("input " + name, entry->shape, tensor.shape(), symbols);
  return mechanism::starting_weights(d, symbols, context.seed);
}

}  // namespace v0

std::unique_ptr<mechanism::Mechanism> mechanism::configure(const std::string& slug, const std::string& params, std::string* effective) {
  auto body = find(slug).make();
  const auto d = declare(*body, parse_params(params));
  if (effective) {
    json values = json::object();
    for (const auto& p : d.params) values[p->name] = value_of(*p);
    *effective = values.dump();
  }
  return body;
}

}  // namespace heed
