// SPDX-License-Identifier: Apache-2.0
// heed doctor: what this machine can do.
#include "heed/doctor.h"

#include <fmt/core.h>

#include <memory>

#include "command.h"

namespace heed::app {
namespace {

using nlohmann::json;

json peaks_json(const heed::Doctor::Peaks& p) {
  const auto value = [](const std::optional<double>& v) { return v ? json(*v) : json(nullptr); };
  return {{"f32_fma", value(p.f32_fma)},
          {"bf16_vdp", value(p.bf16_vdp)},
          {"bf16_amx", value(p.bf16_amx)},
          {"int8", value(p.int8)},
          {"read", value(p.read)}};
}

int doctor(bool as_json) {
  const auto d = heed::examine(true);
  if (as_json) {
    json isas = json::object();
    for (const auto& [name, state] : d.isas) isas[name] = state;
    fmt::print("{}\n", json{{"cpu", d.cpu},
                            {"isa", heed::name_of(d.isa)},
                            {"isas", isas},
                            {"threads", d.threads},
                            {"peaks", peaks_json(d.all)},
                            {"peaks_one_thread", peaks_json(d.one)}}
                           .dump(2));
    return 0;
  }
  fmt::print("{}\ninstruction set {}, {} threads\n", d.cpu, heed::name_of(d.isa), d.threads);
  for (const auto& [name, state] : d.isas) fmt::print("  {:22} {}\n", name, state);
  const auto row = [](const char* name, const char* unit, std::optional<double> one, std::optional<double> all) {
    if (one && all)
      fmt::print("  {:10} {:8.1f} {:8.1f} {}\n", name, *one, *all, unit);
    else
      fmt::print("  {:10} {:>8} {:>8}\n", name, "-", "-");
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

void add_doctor(CLI::App& app, Action& action) {
  const auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("doctor", "what this machine can do");
  command->add_flag("--json", *as_json, "an object");
  command->callback([=, &action] { action = [=] { return doctor(*as_json); }; });
}

}  // namespace heed::app
