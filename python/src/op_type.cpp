// SPDX-License-Identifier: Apache-2.0
// The Python type of heed.ops' callables. It is made by hand: its instances follow the vectorcall protocol (PEP 590), which
// nanobind's classes do not, and so tiny calls cost half as much.
#include <Python.h>
#include <structmember.h>

#include <cstddef>
#include <new>
#include <stdexcept>
#include <typeinfo>

#include "bind.h"

namespace heed::python {
namespace {

struct OpObject {
  PyObject_HEAD vectorcallfunc vectorcall;
  const Op* op;
};

const Op& op_of(PyObject* self) { return *reinterpret_cast<OpObject*>(self)->op; }

/// The exception being handled as Python's, as nanobind does it for functions.
void raise() {
  try {
    throw;
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const nb::builtin_exception& error) {  // nb::type_error: the only one thrown here
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc& error) {
    const bool plain = typeid(error) == typeid(std::bad_alloc) || typeid(error) == typeid(std::bad_array_new_length);
    PyErr_SetString(PyExc_MemoryError, plain ? "memory: expected room for lists of places, got none from the system" : error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

template <class F>
PyObject* guarded(F&& make) {
  try {
    return nb::object(make()).release().ptr();
  } catch (...) {
    raise();
    return nullptr;
  }
}

PyObject* call(PyObject* self, PyObject* const* values, std::size_t count, PyObject* keywords) {
  return guarded([&] { return op_of(self).call(values, std::size_t(PyVectorcall_NARGS(count)), keywords); });
}

PyObject* text(const std::string& value) { return PyUnicode_FromStringAndSize(value.data(), Py_ssize_t(value.size())); }

PyObject* represent(PyObject* self) { return text("heed.ops." + op_of(self).name + op_of(self).text); }
PyObject* name_of_op(PyObject* self, void*) { return text(op_of(self).name); }
PyObject* doc_of_op(PyObject* self, void*) { return text(op_of(self).doc); }
PyObject* signature_of_op(PyObject* self, void*) {
  return guarded([&] { return op_of(self).signature(); });
}

void destroy(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  delete reinterpret_cast<OpObject*>(self)->op;
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject* make_type() {
  static PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(OpObject, vectorcall), READONLY, nullptr}, {}};
  static PyGetSetDef properties[] = {{"__name__", name_of_op, nullptr, nullptr, nullptr},
                                     {"__doc__", doc_of_op, nullptr, nullptr, nullptr},
                                     {"__signature__", signature_of_op, nullptr, nullptr, nullptr},
                                     {}};
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_members, members},
                                {Py_tp_getset, properties},
                                {Py_tp_repr, reinterpret_cast<void*>(represent)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
                                {0, nullptr}};
  static PyType_Spec spec = {"heed.ops.Op", int(sizeof(OpObject)), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  PyObject* made = PyType_FromSpec(&spec);
  if (!made) throw nb::python_error();
  return reinterpret_cast<PyTypeObject*>(made);
}

PyTypeObject* type() {
  static PyTypeObject* const the_type = make_type();  // kept for the process's life
  return the_type;
}

}  // namespace

void add_op_type(nb::module_& m) { m.attr("Op") = nb::handle(reinterpret_cast<PyObject*>(type())); }

void add(nb::module_& m, Op op) {
  const std::string name = op.name;
  auto* made = reinterpret_cast<OpObject*>(type()->tp_alloc(type(), 0));
  if (!made) throw nb::python_error();
  made->vectorcall = call;
  made->op = new Op(std::move(op));
  m.attr(name.c_str()) = nb::steal(reinterpret_cast<PyObject*>(made));
}

}  // namespace heed::python
