// SPDX-License-Identifier: Apache-2.0
#include "heed/catalogue.h"

#include "heed/doctor.h"
#include "heed/safetensors.h"
#include "module.h"

namespace heed::python {
namespace {

Tensors read_tensors(const nb::dict& named, const char* role, Taken& taken) {
  Tensors tensors;
  for (const auto& [key, value] : named) {
    const std::string name = nb::cast<std::string>(key);
    tensors[name] = taken.add(value, std::string(role) + " " + name);
  }
  return tensors;
}

nb::dict run(const std::string& slug, const nb::dict& inputs, const nb::dict& weights, const std::string& params,
             const std::vector<std::string>& outputs, nb::handle threads, nb::handle precision, nb::handle isa) {
  Taken taken;
  const Tensors in = read_tensors(inputs, "input", taken), with = read_tensors(weights, "weight", taken);
  const Context context = read_context(threads, precision, isa, {});
  const Tensors results = [&] {
    const nb::gil_scoped_release unlocked;
    return heed::run(slug, in, with, params, outputs, context);
  }();
  nb::dict given;
  for (const auto& [name, tensor] : results) given[name.c_str()] = give_result(tensor, taken);
  return given;
}

nb::list list() {
  nb::list rows;
  for (const auto& m : list_mechanisms()) {
    nb::dict row;
    row["slug"] = m.slug;
    row["family"] = m.family;
    row["kind"] = m.kind;
    row["tier"] = m.tier;
    row["paper"] = m.paper.empty() ? nb::none() : nb::cast(m.paper);
    rows.append(row);
  }
  return rows;
}

nb::list verify(const std::string& path, nb::handle threads, nb::handle precision, nb::handle isa) {
  const Context context = read_context(threads, precision, isa, {});
  const auto errors = [&] {
    const nb::gil_scoped_release unlocked;
    return heed::verify(path, context);
  }();
  nb::list rows;
  for (const auto& e : errors) {
    nb::dict row;
    row["output"] = e.output;
    row["max_absolute"] = e.max_absolute;
    row["max_relative"] = e.max_relative;
    row["passed"] = e.passed;
    rows.append(row);
  }
  return rows;
}

nb::dict doctor(bool measure) {
  const Doctor d = [&] {
    const nb::gil_scoped_release unlocked;
    return examine(measure);
  }();
  const auto peaks = [](const Doctor::Peaks& p) {
    nb::dict values;
    values["f32_fma"] = p.f32_fma;
    values["bf16_vdp"] = p.bf16_vdp;
    values["bf16_amx"] = p.bf16_amx;
    values["int8"] = p.int8;
    values["read"] = p.read;
    return values;
  };
  nb::dict result, isas;
  for (const auto& [name, state] : d.isas) isas[name.c_str()] = state;
  result["cpu"] = d.cpu;
  result["isa"] = name_of(d.isa);
  result["isas"] = isas;
  result["threads"] = d.threads;
  result["peaks"] = peaks(d.all);
  result["peaks_one_thread"] = peaks(d.one);
  return result;
}

nb::tuple read_file(const std::string& path) {
  const SafeTensors file = read_safetensors(path);
  nb::dict tensors, metadata;
  for (const auto& [name, tensor] : file.tensors) {
    // The file is mapped read-only: arrays of Python may be written to, so they get memory of their own.
    Tensor copy(tensor.dtype(), tensor.shape());
    std::copy_n(tensor.dense().data<char>(), std::size_t(copy.count()) * size_of(copy.dtype()), copy.data<char>());
    tensors[name.c_str()] = give(copy, Kind::numpy);
  }
  for (const auto& [key, value] : file.metadata) metadata[key.c_str()] = value;
  return nb::make_tuple(tensors, metadata);
}

void write_file(const std::string& path, const nb::dict& tensors, const nb::dict& metadata) {
  Taken taken;
  SafeTensors file;
  file.tensors = read_tensors(tensors, "tensor", taken);
  for (const auto& [key, value] : metadata) file.metadata[nb::cast<std::string>(key)] = nb::cast<std::string>(value);
  write_safetensors(path, file);
}

}  // namespace

void bind_catalogue(nb::module_& m) {
  m.def("run", &run, nb::arg("slug"), nb::arg("inputs"), nb::arg("weights"), nb::arg("params"), nb::arg("outputs"),
        nb::arg("threads").none(), nb::arg("precision").none(), nb::arg("isa").none());
  m.def("list_mechanisms", &list);
  m.def("describe_mechanism", &describe_mechanism);
  m.def("verify", &verify, nb::arg("path"), nb::arg("threads").none(), nb::arg("precision").none(), nb::arg("isa").none());
  m.def("doctor", &doctor);
  m.def("read_safetensors", &read_file);
  m.def("write_safetensors", &write_file);
}

}  // namespace heed::python
