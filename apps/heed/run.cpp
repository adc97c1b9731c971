// SPDX-License-Identifier: Apache-2.0
// heed run: one mechanism on the tensors of a file, or on random ones.
#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "example.h"
#include "heed/safetensors.h"

namespace heed::app {
namespace {

using nlohmann::json;

struct Request : ExampleOptions {
  std::string slug, in, out;
  std::vector<std::string> outputs;
};

Example from_file(const Request& r) {
  if (!r.shape.empty() || !r.with.empty()) fail("--in", "a file, or --shape and --with", "both");
  const auto file = read_safetensors(r.in);
  Example given;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.rfind("in.", 0) == 0)
      given.inputs[name.substr(3)] = tensor;
    else if (name.rfind("weight.", 0) == 0)
      given.weights[name.substr(7)] = tensor;
    else if (name.find('.') == std::string::npos)
      given.inputs[name] = tensor;
  }
  if (r.type() != DType::f32)
    for (auto* group : {&given.inputs, &given.weights})
      for (auto& [name, tensor] : *group)
        if (tensor.dtype() == DType::f32) tensor = tensor.to(r.type());
  json params = json::object();
  if (const auto found = file.metadata.find("params"); found != file.metadata.end()) params = parse_json(found->second);
  if (!params.is_object()) fail(r.in + ": params", "a JSON object", "something else");
  params.update(parse_pairs(r.pairs));
  given.params = params.dump();
  return given;
}

int run(const Request& r) {
  check_writable("--out", r.out);
  const bool drawn = r.in.empty();
  const Example given = drawn ? r.make(r.slug) : from_file(r);
  SafeTensors written;
  written.metadata = {{"mechanism", r.slug}, {"params", given.params}};
  for (const auto& [name, tensor] : given.weights)
    if (drawn) written.tensors["weight." + name] = tensor;
  std::vector<std::string> outputs = r.outputs;
  if (!outputs.empty() && std::find(outputs.begin(), outputs.end(), "out") == outputs.end()) outputs.push_back("out");
  const Tensors results = heed::run(r.slug, given.inputs, given.weights, given.params, outputs, r.context());
  for (const auto& [name, tensor] : given.inputs) {
    if (!drawn) break;
    fmt::print("in.{} {} {}\n", name, name_of(tensor.dtype()), tensor.shape().text());
    written.tensors["in." + name] = tensor;
  }
  for (const auto& [name, tensor] : results) {
    fmt::print("{} {} {}\n", name, name_of(tensor.dtype()), tensor.shape().text());
    written.tensors["out." + name] = tensor;
  }
  if (!r.out.empty()) write_safetensors(r.out, written);
  return 0;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  const auto r = std::make_shared<Request>();
  const auto a_name = [](const std::string& name) { return name.empty() ? "expected a file's name, got \"\"" : ""; };
  auto* command = app.add_subcommand("run", "run a mechanism on the tensors of a safetensors file, or on random ones");
  command->add_option("slug", r->slug, "a mechanism of heed list")->required();
  command->add_option("--in", r->in, "tensors in.NAME and weight.NAME; random ones without it")->check(a_name);
  command->add_option("--out", r->out, "where the outputs go, and the random tensors they are of")->check(a_name);
  command->add_option("--output", r->outputs, "an output besides the default `out`")->allow_extra_args(false);
  r->add_to(*command);
  command->callback([r, &action] { action = [r] { return run(*r); }; });
}

}  // namespace heed::app
