// SPDX-License-Identifier: Apache-2.0
// Python objects as C++ arguments: a wrong kind of object is a TypeError that names the argument.
#pragma once
#include <nanobind/stl/string.h>

#include <optional>
#include <string>
#include <vector>

#include "array.h"
#include "heed/attend.h"
#include "heed/context.h"
#include "heed/tape.h"

namespace heed::python {

/// The arrays of one call, in order: what decides the kind of the results and which gradients are asked for.
struct Taken {
  Lenders lenders;
  std::vector<View> views;
  std::vector<nb::handle> wanted;  ///< the torch tensors that require a gradient, while torch records
  std::vector<Tensor> leaves;      ///< the same as starts of heed's graph
  std::vector<nb::handle> others;  ///< the other torch tensors
  Kind kind = Kind::numpy;         ///< of the first

  Taken() { views.reserve(4), others.reserve(4); }

  /// A tensor that a gradient is wanted of comes as a leaf, so that ops record.
  Tensor add(nb::handle object, const Name& name) {
    Array array = take(object, name, lenders);
    if (views.empty()) kind = array.kind;
    views.push_back(array.tensor.raw_view());
    if (!array.requires_grad || !torch_records()) {
      if (array.kind == Kind::torch) others.push_back(object);
      return std::move(array.tensor);
    }
    kind = Kind::torch;  // torch keeps what is recorded
    wanted.push_back(object);
    leaves.push_back(leaf(array.tensor));
    return leaves.back();
  }
};

inline bool is_number(nb::handle o) { return PyFloat_Check(o.ptr()) || (PyIndex_Check(o.ptr()) && !PyBool_Check(o.ptr())); }

/// How an argument of type T is read; specialise it for an enum or a struct of options.
template <class T>
struct Read;

template <>
struct Read<bool> {
  static bool from(nb::handle o, const Name& name, Taken&) {
    if (!PyBool_Check(o.ptr())) wrong_kind(name, "True or False", o);
    return o.ptr() == Py_True;
  }
};

template <>
struct Read<std::int64_t> {
  static std::int64_t from(nb::handle o, const Name& name, Taken&) {
    if (!PyIndex_Check(o.ptr()) || PyBool_Check(o.ptr())) wrong_kind(name, "an integer", o);
    const std::int64_t value = PyNumber_AsSsize_t(o.ptr(), PyExc_OverflowError);
    if (value != -1 || !PyErr_Occurred()) return value;
    nb::python_error error;
    if (error.matches(PyExc_OverflowError)) fail(name, "a 64-bit integer", nb::str(o).c_str());
    if (error.matches(PyExc_TypeError)) wrong_kind(name, "an integer", o);  // an array of several
    throw error;
  }
};

template <>
struct Read<int> {
  static int from(nb::handle o, const Name& name, Taken& taken) {
    const std::int64_t value = Read<std::int64_t>::from(o, name, taken);
    if (value != int(value)) fail(name, "a 32-bit integer", std::to_string(value));
    return int(value);
  }
};

template <>
struct Read<std::uint64_t> {
  static std::uint64_t from(nb::handle o, const Name& name, Taken& taken) {
    const std::int64_t value = Read<std::int64_t>::from(o, name, taken);
    if (value < 0) fail(name, "0 or more", std::to_string(value));
    return std::uint64_t(value);
  }
};

template <>
struct Read<double> {
  static double from(nb::handle o, const Name& name, Taken&) {
    if (!is_number(o)) {
      // Scalars of numpy and torch say what they are by __float__; arrays of more elements refuse it.
      if (PyBool_Check(o.ptr()) || PyUnicode_Check(o.ptr()) || !nb::hasattr(o, "__float__")) wrong_kind(name, "a number", o);
    }
    const double value = PyFloat_AsDouble(o.ptr());
    if (value == -1 && PyErr_Occurred()) throw nb::python_error();
    return value;
  }
};

template <>
struct Read<float> {
  static float from(nb::handle o, const Name& name, Taken& taken) { return float(Read<double>::from(o, name, taken)); }
};

template <>
struct Read<std::string> {
  static std::string from(nb::handle o, const Name& name, Taken&) {
    if (!PyUnicode_Check(o.ptr())) wrong_kind(name, "text", o);
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(o.ptr(), &size);
    if (text) return {text, std::size_t(size)};
    PyErr_Clear();
    fail(name, "text", "lone surrogates, which UTF-8 lacks");
  }
};

template <>
struct Read<Tensor> {
  static Tensor from(nb::handle o, const Name& name, Taken& taken) { return o.is_none() ? Tensor() : taken.add(o, name); }
};

template <class T>
struct Read<std::optional<T>> {
  static std::optional<T> from(nb::handle o, const Name& name, Taken& taken) {
    if (o.is_none()) return {};
    return Read<T>::from(o, name, taken);
  }
};

template <>
struct Read<std::optional<View>> {
  static std::optional<View> from(nb::handle o, const Name& name, Taken& taken) {
    if (o.is_none()) return {};
    const Tensor tensor = taken.add(o, name);
    if (tensor.origin()) fail(name, "a tensor that needs no gradient", "one that requires it");
    return tensor.view();
  }
};

/// A list or tuple; a single number stands for a list of one.
template <class T>
struct Read<std::vector<T>> {
  static std::vector<T> from(nb::handle o, const Name& name, Taken& taken) {
    if constexpr (std::is_arithmetic_v<T>) {
      if (!PyLong_Check(o.ptr()) && !PyFloat_Check(o.ptr()) && nb::hasattr(o, "tolist")) {  // arrays and scalars of numpy and torch
        const nb::object plain = o.attr("tolist")();
        if (!nb::hasattr(plain, "tolist")) return from(plain, name, taken);
      }
      if (is_number(o)) return {Read<T>::from(o, name, taken)};
    }
    if (!PyList_Check(o.ptr()) && !PyTuple_Check(o.ptr())) {
      wrong_kind(name, "a list or tuple", o);
    }
    std::vector<T> values;
    const std::size_t count = std::size_t(PySequence_Fast_GET_SIZE(o.ptr()));
    values.reserve(count);
    for (std::size_t i = 0; i < count && i < std::size_t(PySequence_Fast_GET_SIZE(o.ptr())); ++i)  // reading an item may change a list
      values.push_back(Read<T>::from(nb::borrow(PySequence_Fast_GET_ITEM(o.ptr(), Py_ssize_t(i))), Name(name, i), taken));
    return values;
  }
};

template <>
struct Read<Shape> {
  static Shape from(nb::handle o, const Name& name, Taken& taken) { return Shape(Read<std::vector<std::int64_t>>::from(o, name, taken)); }
};

/// Enums go by the names of their values, in order.
template <class E>
E read_choice(nb::handle o, const Name& name, std::initializer_list<const char*> names) {
  Taken none;
  const std::string text = Read<std::string>::from(o, name, none);
  int at = 0;
  std::string all;
  for (const char* choice : names) {
    if (text == choice) return E(at);
    all += (at++ ? ", " : "") + std::string(choice);
  }
  fail(name, "one of " + all, "'" + text + "'");
}

template <>
struct Read<Weighting> {
  static Weighting from(nb::handle o, const Name& name, Taken&) {
    return read_choice<Weighting>(o, name, {"softmax", "sigmoid", "relu", "softmax_plus_one"});
  }
};
template <>
struct Read<Precision> {
  static Precision from(nb::handle o, const Name& name, Taken&) {
    return read_choice<Precision>(o, name, {"strict", "split", "fast", "int8"});
  }
};

/// The keywords of every call: threads=0, precision=None, isa=None, seed=0. None and 0 stand for the defaults.
Context read_context(nb::handle threads, nb::handle precision, nb::handle isa, nb::handle seed,
                     Precision default_precision = Precision::strict);

}  // namespace heed::python
