// SPDX-License-Identifier: Apache-2.0
#include "heed/catalogue.h"

#include "heed/doctor.h"
#include "heed/safetensors.h"
#include "module.h"

namespace heed::python {
namespace {

/// Also tells the names of those that gradients are wanted of, as heed::record() knows them.
Tensors read_tensors(const nb::dict& named, const std::string& role, const std::string& prefix, Taken& taken,
                     std::vector<std::string>& of) {
  Tensors tensors;
  for (const auto& [key, value] : named) {
    const std::string name = Read<std::string>::from(key, "a name of the " + role + "s", taken);
    tensors[name] = taken.add(value, role + " " + name).with_origin(nullptr);
    if (of.size() < taken.wanted.size()) of.push_back(prefix + name);
  }
  return tensors;
}

nb::dict run(const std::string& slug, const nb::dict& inputs, const nb::dict& weights, const std::string& params,
             const std::vector<std::string>& outputs, nb::handle threads, nb::handle precision, nb::handle isa, nb::handle seed) {
  Taken taken;
  std::vector<std::string> of;
  const Tensors in = read_tensors(inputs, "input", "in.", taken, of), with = read_tensors(weights, "weight", "weight.", taken, of);
  const Context context = read_context(threads, precision, isa, seed);
  nb::dict given;
  if (of.empty()) {
    const Tensors results = [&] {
      const nb::gil_scoped_release unlocked;
      return heed::run(slug, in, with, params, outputs, context);
    }();
    for (const auto& [name, tensor] : results) given[name.c_str()] = give_new(tensor, taken);
    return given;
  }
  const auto recording = [&] {
    const nb::gil_scoped_release unlocked;
    return std::make_shared<Recording>(record(slug, in, with, of, params, outputs, context));
  }();
  std::vector<std::string> names;
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : recording->outputs) names.push_back(name), tensors.push_back(tensor);
  const auto objects = differentiable(tensors, taken, [recording, names, of](const std::vector<Tensor>& cotangents) {
    Tensors along;
    for (std::size_t i = 0; i < names.size(); ++i)
      if (cotangents[i].defined()) along[names[i]] = cotangents[i];
    const Tensors found = recording->gradients(along);
    std::vector<Tensor> gradients;
    for (const auto& name : of) gradients.push_back(found.at(name));
    return gradients;
  });
  for (std::size_t i = 0; i < names.size(); ++i) given[names[i].c_str()] = objects[i];
  return given;
}

/// As torch tensors where the module asks for them.
nb::dict initial(const std::string& slug, const nb::dict& inputs, const std::string& params, nb::handle seed, bool as_torch) {
  Taken taken;
  std::vector<std::string> of;
  const Tensors in = read_tensors(inputs, "input", "in.", taken, of);
  nb::dict given;
  for (const auto& [name, tensor] : initial_weights(slug, in, params, read_context({}, {}, {}, seed)))
    given[name.c_str()] = give(tensor, as_torch ? Kind::torch : Kind::numpy);
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
  std::vector<std::string> of;
  SafeTensors file;
  file.tensors = read_tensors(tensors, "tensor", "", taken, of);
  for (const auto& [key, value] : metadata) {
    const std::string name = Read<std::string>::from(key, "a name of the metadata", taken);
    file.metadata[name] = Read<std::string>::from(value, "metadata " + name, taken);
  }
  write_safetensors(path, file);
}

}  // namespace

void bind_catalogue(nb::module_& m) {
  m.def("run", &run, nb::arg("slug"), nb::arg("inputs"), nb::arg("weights"), nb::arg("params"), nb::arg("outputs"),
        nb::arg("threads").none(), nb::arg("precision").none(), nb::arg("isa").none(), nb::arg("seed"));
  m.def("initial_weights", &initial);
  m.def("list_mechanisms", &list);
  m.def("describe_mechanism", &describe_mechanism, nb::arg("slug"), nb::arg("params"));
  m.def("verify", &verify, nb::arg("path"), nb::arg("threads").none(), nb::arg("precision").none(), nb::arg("isa").none());
  m.def("doctor", &doctor);
  m.def("read_safetensors", &read_file);
  m.def("write_safetensors", &write_file);
}

}  // namespace heed::python
