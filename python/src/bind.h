// SPDX-License-Identifier: Apache-2.0
// Binding an op is one line in a table (ops_*.cpp):
//
//   bind(m, "linear(x, weight, bias=None)", &Ops::linear, "x[..., in] weight[out, in]^T + bias[out].");
//
// The text is the Python signature: names, and defaults as Python writes them. Types come from the method; those known are
// Tensor (None is an empty one), lists of tensors, numbers and Shapes, bool, text, optionals of these, and what specialises
// Read (read.h) and, for results, Give (below). An op whose C++ form differs (options in a struct, an enum) is bound by a lambda
// that takes `const Ops&` first. Every op also takes threads=0, precision=None, isa=None, seed=0 by keyword.
#pragma once
#include <array>
#include <functional>
#include <tuple>
#include <utility>

#include "heed/ops.h"
#include "read.h"

namespace heed::python {

/// What an op returns as a Python object: `give` makes one of a tensor, the rest keeps the form.
using GiveTensor = std::function<nb::object(const Tensor&)>;

template <class T>
struct Give {
  static nb::object to(const T& value, const GiveTensor&) { return nb::cast(value); }
};
template <>
struct Give<Tensor> {
  static nb::object to(const Tensor& tensor, const GiveTensor& give) { return tensor.defined() ? give(tensor) : nb::none(); }
};
template <class... T>
nb::object give_tuple(const GiveTensor& give, const T&... values) {
  nb::object items[] = {Give<T>::to(values, give)...};
  nb::object tuple = nb::steal(PyTuple_New(sizeof...(T)));
  for (std::size_t i = 0; i < sizeof...(T); ++i) PyTuple_SET_ITEM(tuple.ptr(), Py_ssize_t(i), items[i].release().ptr());
  return tuple;
}
template <class A, class B>
struct Give<std::pair<A, B>> {
  static nb::object to(const std::pair<A, B>& pair, const GiveTensor& give) { return give_tuple(give, pair.first, pair.second); }
};
template <class... T>
struct Give<std::tuple<T...>> {
  static nb::object to(const std::tuple<T...>& tuple, const GiveTensor& give) {
    return std::apply([&](const T&... values) { return give_tuple(give, values...); }, tuple);
  }
};
template <class T>
struct Give<std::vector<T>> {
  static nb::object to(const std::vector<T>& values, const GiveTensor& give) {
    nb::object tuple = nb::steal(PyTuple_New(Py_ssize_t(values.size())));
    for (std::size_t i = 0; i < values.size(); ++i)
      PyTuple_SET_ITEM(tuple.ptr(), Py_ssize_t(i), Give<T>::to(values[i], give).release().ptr());
    return tuple;
  }
};

/// A result as an array; one that shares an argument's memory is copied: results are always new memory.
nb::object give_new(Tensor tensor, const Taken& taken);

/// How gradients of a call's results become those of `Taken::wanted`; an undefined tensor is none.
using Backward = std::function<std::vector<Tensor>(const std::vector<Tensor>& cotangents)>;
/// The results as torch tensors that know their gradients (torch.autograd.Function).
std::vector<nb::object> differentiable(const std::vector<Tensor>& results, const Taken& taken, const Backward& backward);
/// The gradients that heed's own tape plays.
Backward tape_backward(const std::vector<Tensor>& results, const Taken& taken, const Context& context);

template <class R>
nb::object give_results(const R& results, const Taken& taken, const Context& context) {
  if (taken.wanted.empty()) return Give<R>::to(results, [&](const Tensor& t) { return give_new(t, taken); });
  std::vector<Tensor> tensors;
  Give<R>::to(results, [&](const Tensor& t) { return tensors.push_back(t), nb::none(); });
  auto objects = differentiable(tensors, taken, tape_backward(tensors, taken, context));
  std::size_t at = 0;
  return Give<R>::to(results, [&](const Tensor&) { return objects[at++]; });
}

/// One op as Python calls it. The signature's text is kept for inspect.
class Op {
 public:
  using Body = std::function<nb::object(const nb::handle* arguments, const std::vector<std::string>& names, const Context& context)>;

  Op(const std::string& signature, std::size_t parameters, Body body, std::string doc);
  /// As PyObject_Vectorcall gives them: `positional` values, then those of the keywords.
  nb::object call(PyObject* const* values, std::size_t positional, PyObject* keywords) const;
  nb::object signature() const;  ///< an inspect.Signature

  std::string name, text, doc;  ///< "linear", "(x, weight, bias=None, ...)", one line

 private:
  std::vector<std::string> names_;
  std::vector<nb::object> keys_, defaults_;  ///< interned names; an invalid object where there is no default
  Body body_;
};

/// Adds the type heed.ops.Op, which is called without a tuple or a dict being made.
void add_op_type(nb::module_& m);
/// Adds an Op to heed.ops.
void add(nb::module_& m, Op op);

/// Whether an argument may ask for any size of result, as extents and counts do.
template <class P>
inline constexpr bool sizes_result =
    std::is_same_v<P, std::int64_t> || std::is_same_v<P, Shape> || std::is_same_v<P, std::vector<std::int64_t>>;

/// Gives up the interpreter's lock while it lives, unless the call is so small that this would cost more than the op.
class Unlocked {
 public:
  Unlocked(const Taken& taken, bool any_size) {
    std::int64_t elements = 0;
    for (const View& view : taken.views) elements += view.count();
    if (any_size || elements > 4096) released_.emplace();
  }

 private:
  std::optional<nb::gil_scoped_release> released_;
};

/// Reads the arguments, runs, gives the result.
template <class R, class... P, class Function>
Op::Body body_of(Function function) {
  return [function]<std::size_t... I>(std::index_sequence<I...>) -> Op::Body {
    return [function](const nb::handle* arguments, const std::vector<std::string>& names, const Context& context) {
      Taken taken;
      const std::tuple<std::decay_t<P>...> values{Read<std::decay_t<P>>::from(arguments[I], names[I], taken)...};
      const R result = [&] {
        const Unlocked unlocked(taken, (sizes_result<std::decay_t<P>> || ...));
        return function(Ops(context), std::get<I>(values)...);
      }();
      return give_results(result, taken, context);
    };
  }(std::index_sequence_for<P...>{});
}

template <class R, class... P>
void bind(nb::module_& m, const char* signature, R (Ops::*method)(P...) const, const char* doc) {
  const auto function = [method](const Ops& ops, const std::decay_t<P>&... values) -> R { return (ops.*method)(values...); };
  add(m, Op(signature, sizeof...(P), body_of<R, P...>(function), doc));
}

template <class Function, class R, class... P>
void bind_lambda(nb::module_& m, const char* signature, Function function, R (Function::*)(const Ops&, P...) const, const char* doc) {
  add(m, Op(signature, sizeof...(P), body_of<R, P...>(function), doc));
}
/// A lambda (const Ops&, ...).
template <class Function>
void bind(nb::module_& m, const char* signature, Function function, const char* doc) {
  bind_lambda(m, signature, function, &Function::operator(), doc);
}

}  // namespace heed::python
