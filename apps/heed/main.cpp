// SPDX-License-Identifier: Apache-2.0
// The command line. Exit codes: 0 done, 1 the answer is no, 2 wrong use.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "heed/catalogue.h"
#include "heed/doctor.h"
#include "heed/safetensors.h"

namespace {

using nlohmann::json;

int list(const std::string& family, bool as_json) {
  json rows = json::array();
  for (const auto& m : heed::list_mechanisms())
    if (family.empty() || m.family == family)
      rows.push_back({{"slug", m.slug}, {"family", m.family}, {"kind", m.kind}, {"tier", m.tier},
                      {"paper", m.paper.empty() ? json(nullptr) : json(m.paper)}});
  if (as_json) {
    fmt::print("{}\n", rows.dump(2));
    return 0;
  }
  for (const auto& r : rows)
    fmt::print("{:32} {:10} {:10} {}\n", r["slug"].get<std::string>(), r["family"].get<std::string>(), r["kind"].get<std::string>(),
               r["paper"].is_null() ? "" : r["paper"].get<std::string>());
  return 0;
}

/// "name=value" pairs into a JSON object; a bare word is text.
json parse_pairs(const std::vector<std::string>& pairs) {
  json params = json::object();
  for (const auto& pair : pairs) {
    const auto at = pair.find('=');
    if (at == std::string::npos || at == 0) heed::fail("-p", "name=value", "'" + pair + "'");
    auto value = json::parse(pair.substr(at + 1), nullptr, false);
    params[pair.substr(0, at)] = value.is_discarded() ? json(pair.substr(at + 1)) : value;
  }
  return params;
}

int run(const std::string& slug, const std::string& in, const std::string& out, const std::vector<std::string>& pairs,
        std::vector<std::string> outputs, const heed::Context& context) {
  const auto file = heed::read_safetensors(in);
  heed::Tensors inputs, weights;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.rfind("in.", 0) == 0) inputs[name.substr(3)] = tensor;
    else if (name.rfind("weight.", 0) == 0) weights[name.substr(7)] = tensor;
    else if (name.find('.') == std::string::npos) inputs[name] = tensor;
  }
  json params = json::object();
  if (const auto given = file.metadata.find("params"); given != file.metadata.end()) params = json::parse(given->second, nullptr, false);
  if (!params.is_object()) heed::fail(in + ": params", "a JSON object", "something else");
  params.update(parse_pairs(pairs));
  const auto results = heed::run(slug, inputs, weights, params.dump(), outputs, context);
  heed::SafeTensors written;
  written.metadata = {{"mechanism", slug}, {"params", params.dump()}};
  for (const auto& [name, tensor] : results) {
    fmt::print("{} {} {}\n", name, heed::name_of(tensor.dtype()), tensor.shape().text());
    written.tensors["out." + name] = tensor;
  }
  if (!out.empty()) heed::write_safetensors(out, written);
  return 0;
}

int verify(const std::vector<std::string>& files, const heed::Context& context) {
  bool passed = true, usable = true;
  for (const auto& file : files) {
    try {
      for (const auto& e : heed::verify(file, context)) {
        fmt::print("{} {} {}: absolute {:.3g}, relative {:.3g}\n", e.passed ? "ok  " : "FAIL", file, e.output, e.max_absolute, e.max_relative);
        passed = passed && e.passed;
      }
    } catch (const heed::Error& error) {
      fmt::print(stderr, "heed verify: {}: {}\n", file, error.what());
      usable = false;
    }
  }
  return !usable ? 2 : passed ? 0 : 1;
}

json peaks_json(const heed::Doctor::Peaks& p) {
  const auto value = [](const std::optional<double>& v) { return v ? json(*v) : json(nullptr); };
  return {{"f32_fma", value(p.f32_fma)}, {"bf16_vdp", value(p.bf16_vdp)}, {"bf16_amx", value(p.bf16_amx)}, {"int8", value(p.int8)}, {"read", value(p.read)}};
}

int doctor(bool as_json) {
  const auto d = heed::examine(true);
  if (as_json) {
    json isas = json::object();
    for (const auto& [name, state] : d.isas) isas[name] = state;
    fmt::print("{}\n", json{{"cpu", d.cpu}, {"isa", heed::name_of(d.isa)}, {"isas", isas}, {"threads", d.threads}, {"peaks", peaks_json(d.all)}, {"peaks_one_thread", peaks_json(d.one)}}.dump(2));
    return 0;
  }
  fmt::print("{}\ninstruction set {}, {} threads\n", d.cpu, heed::name_of(d.isa), d.threads);
  for (const auto& [name, state] : d.isas) fmt::print("  {:22} {}\n", name, state);
  const auto row = [](const char* name, const char* unit, std::optional<double> one, std::optional<double> all) {
    if (one && all) fmt::print("  {:10} {:8.1f} {:8.1f} {}\n", name, *one, *all, unit);
    else fmt::print("  {:10} {:>8} {:>8}\n", name, "-", "-");
  };
  fmt::print("peaks         1 thread      all\n");
  row("f32 FMA", "GFLOP/s", d.one.f32_fma, d.all.f32_fma);
  row("bf16 VDP", "GFLOP/s", d.one.bf16_vdp, d.all.bf16_vdp);
  row("bf16 AMX", "GFLOP/s", d.one.bf16_amx, d.all.bf16_amx);
  row("int8", "GOP/s", d.one.int8, d.all.int8);
  row("read", "GB/s", d.one.read, d.all.read);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"heed: attention on CPUs"};
  app.require_subcommand(1);
  std::string slug, in, out, family;
  std::vector<std::string> pairs, files, outputs;
  int threads = 0;
  bool as_json = false;

  auto* list_command = app.add_subcommand("list", "every mechanism");
  list_command->add_option("--family", family, "only this family");
  list_command->add_flag("--json", as_json);
  auto* info_command = app.add_subcommand("info", "what a mechanism takes and gives, as JSON");
  info_command->add_option("slug", slug)->required();
  auto* run_command = app.add_subcommand("run", "run a mechanism on the tensors of a safetensors file");
  run_command->add_option("slug", slug)->required();
  run_command->add_option("--in", in, "tensors in.NAME and weight.NAME")->required();
  run_command->add_option("--out", out, "where the outputs go");
  run_command->add_option("-p", pairs, "name=value");
  run_command->add_option("--output", outputs, "an output besides the default `out`");
  run_command->add_option("--threads", threads)->check(CLI::NonNegativeNumber);
  auto* verify_command = app.add_subcommand("verify", "run case files and compare");
  verify_command->add_option("files", files)->required();
  verify_command->add_option("--threads", threads)->check(CLI::NonNegativeNumber);
  auto* doctor_command = app.add_subcommand("doctor", "what this machine can do");
  doctor_command->add_flag("--json", as_json);

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "heed: {}\n", error.what());
    return 2;
  }
  try {
    heed::Context context;
    context.threads = threads;
    if (*list_command) return list(family, as_json);
    if (*info_command) return fmt::print("{}\n", heed::describe_mechanism(slug)), 0;
    if (*run_command) return run(slug, in, out, pairs, outputs, context);
    if (*verify_command) return verify(files, context);
    return doctor(as_json);
  } catch (const std::exception& error) {
    fmt::print(stderr, "heed: {}\n", error.what());
    return 2;
  }
}
