// SPDX-License-Identifier: Apache-2.0
#include "bind.h"

#include <nanobind/eval.h>
#include <nanobind/stl/string.h>

#include <cstring>

namespace heed::python {
namespace {

constexpr const char* context_names[] = {"threads", "precision", "isa", "seed"};
constexpr std::size_t context_count = 4;

/// The bytes that a view spans, as [first, last).
std::pair<const char*, const char*> span(const View& view) {
  const char *first = static_cast<const char*>(view.data), *last = first;
  if (view.count() == 0) return {first, first};
  const auto size = std::int64_t(size_of(view.dtype));
  for (int i = 0; i < view.rank(); ++i) {
    const std::int64_t reach = (view.extent(i) - 1) * view.stride(i) * size;
    (reach < 0 ? first : last) += reach;
  }
  return {first, last + size};
}

}  // namespace

nb::object give_new(Tensor tensor, const Taken& taken) {
  if (tensor.origin()) tensor = tensor.with_origin(nullptr);
  const auto [first, last] = span(tensor.view());
  for (const View& view : taken.views) {
    const auto [from, to] = span(view);
    if (first >= to || from >= last) continue;
    const Tensor dense = tensor.dense();  // itself where it is dense already
    Tensor copy(tensor.dtype(), tensor.shape());
    std::memcpy(copy.data<char>(), dense.data<char>(), std::size_t(copy.count()) * size_of(copy.dtype()));
    return give(copy, taken.kind);
  }
  return give(std::move(tensor), taken.kind);
}

Backward tape_backward(const std::vector<Tensor>& results, const Taken& taken, const Context& context) {
  return [results, leaves = taken.leaves, context](const std::vector<Tensor>& cotangents) {
    std::vector<Tensor> outputs, along;
    for (std::size_t i = 0; i < results.size(); ++i)
      if (cotangents[i].defined()) outputs.push_back(results[i]), along.push_back(cotangents[i].to(DType::f32));
    return gradients(Ops(context, false), outputs, along, leaves);
  };
}

std::vector<nb::object> differentiable(const std::vector<Tensor>& results, const Taken& taken, const Backward& backward) {
  nb::list outputs, inputs, kinds, others;
  for (const Tensor& tensor : results) {
    outputs.append(give_new(tensor, taken));
    kinds.append(tensor.dtype() == DType::f32 || tensor.dtype() == DType::bf16 || tensor.dtype() == DType::f16);
  }
  for (nb::handle tensor : taken.wanted) inputs.append(tensor);
  for (nb::handle tensor : taken.others) others.append(tensor);
  const nb::object play = nb::cpp_function([backward](const nb::tuple& given) {
    Lenders lenders;
    std::vector<Tensor> cotangents;
    for (nb::handle g : given) cotangents.push_back(g.is_none() ? Tensor() : take(g, "gradient", lenders).tensor);
    const auto found = [&] {
      const nb::gil_scoped_release unlocked;
      return backward(cotangents);
    }();
    nb::list gradients;
    for (const Tensor& tensor : found) gradients.append(tensor.defined() ? give(tensor.with_origin(nullptr), Kind::torch) : nb::none());
    return nb::tuple(gradients);
  });
  std::vector<nb::object> objects;
  for (nb::handle made : nb::module_::import_("heed._autograd").attr("attach")(play, outputs, kinds, others, inputs))
    objects.push_back(nb::borrow(made));
  return objects;
}

Op::Op(const std::string& signature, std::size_t parameters, Body body, std::string line)
    : name(signature.substr(0, signature.find('('))), doc(std::move(line)), body_(std::move(body)) {
  const std::string inside = signature.substr(name.size() + 1, signature.size() - name.size() - 2);
  const nb::object lambda = nb::eval(nb::str(("lambda " + inside + ": 0").c_str()), nb::dict());
  const nb::object variables = lambda.attr("__code__").attr("co_varnames"), defaults = lambda.attr("__defaults__");
  const std::size_t count = nb::len(variables), defaulted = defaults.is_none() ? 0 : nb::len(defaults);
  if (count != parameters) throw std::logic_error(signature + ": the method takes " + std::to_string(parameters) + " arguments");
  for (std::size_t i = 0; i < count; ++i) {
    names_.push_back(nb::cast<std::string>(nb::object(variables[i])));
    keys_.push_back(nb::object(variables[i]));
    defaults_.push_back(i + defaulted < count ? nb::object() : nb::object(defaults[i + defaulted - count]));
  }
  text = "(" + inside + (inside.empty() ? "" : ", ") + "*, threads=0, precision=None, isa=None, seed=0)";
}

nb::object Op::call(PyObject* const* values, std::size_t positional, PyObject* keywords) const {
  const std::size_t count = names_.size();
  if (positional > count)
    throw nb::type_error((name + "() takes " + std::to_string(count) + " arguments, got " + std::to_string(positional)).c_str());
  std::array<nb::handle, 32> arguments;
  for (std::size_t i = 0; i < positional; ++i) arguments[i] = values[i];
  nb::handle settings[context_count];
  for (Py_ssize_t k = 0, n = keywords ? PyTuple_GET_SIZE(keywords) : 0; k < n; ++k) {
    PyObject *key = PyTuple_GET_ITEM(keywords, k), *value = values[positional + std::size_t(k)];
    std::size_t i = 0;
    while (i < count && keys_[i].ptr() != key && PyUnicode_Compare(keys_[i].ptr(), key) != 0) ++i;
    if (i < count) {
      if (arguments[i]) throw nb::type_error((name + "() got two values for " + names_[i]).c_str());
      arguments[i] = value;
      continue;
    }
    const char* word = PyUnicode_AsUTF8(key);
    for (i = 0; i < context_count && std::strcmp(word, context_names[i]) != 0; ++i) {
    }
    if (i == context_count) throw nb::type_error((name + "() got an unexpected keyword argument '" + word + "'").c_str());
    settings[i] = value;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (arguments[i]) continue;
    if (!defaults_[i].is_valid()) throw nb::type_error((name + "() is missing " + names_[i]).c_str());
    arguments[i] = defaults_[i];
  }
  return body_(arguments.data(), names_, read_context(settings[0], settings[1], settings[2], settings[3]));
}

nb::object Op::signature() const {
  return nb::module_::import_("inspect").attr("signature")(
      nb::eval(nb::str(("lambda " + text.substr(1, text.size() - 2) + ": 0").c_str()), nb::dict()));
}

Context read_context(nb::handle threads, nb::handle precision, nb::handle isa, nb::handle seed, Precision default_precision) {
  static const Isa at_start = default_isa();  // HEED_ISA is looked up once, not at each call
  Context context{.isa = at_start, .precision = default_precision};
  const auto given = [](nb::handle setting) { return setting && !setting.is_none(); };
  if (!given(threads) && !given(precision) && !given(isa) && !given(seed)) return context;
  Taken none;
  if (given(threads)) {
    context.threads = Read<int>::from(threads, "threads", none);
    if (context.threads < 0) fail("threads", "0 or more", std::to_string(context.threads));
  }
  if (given(precision)) context.precision = Read<Precision>::from(precision, "precision", none);
  if (given(isa)) {
    const std::string wanted = Read<std::string>::from(isa, "isa", none);
    std::string names;
    bool found = false;
    for (int i = 0; i <= int(Isa::amx_emulated); ++i) {
      if (wanted == name_of(Isa(i))) context.isa = Isa(i), found = true;
      names += (i ? ", " : "") + std::string(name_of(Isa(i)));
    }
    if (!found) fail("isa", "one of " + names, "'" + wanted + "'");
    if (!runs_here(context.isa)) fail("isa", "an instruction set of this machine", "'" + wanted + "'");
  }
  if (given(seed)) context.seed = Read<std::uint64_t>::from(seed, "seed", none);
  return context;
}

}  // namespace heed::python
