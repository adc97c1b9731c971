// SPDX-License-Identifier: Apache-2.0
#include "array.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "dlpack.h"

namespace heed::python {
namespace {

[[noreturn]] void wrong_dtype(const Name& name, const std::string& came) {
  fail(name, "dtype float32, bfloat16, float16, int64, int32, uint8 or bool", came);
}

DType dtype_of(const dlpack::DTypeCode& type, const Name& name) {
  if (type.lanes == 1) {
    if (type.code == dlpack::float_code && type.bits == 32) return DType::f32;
    if (type.code == dlpack::float_code && type.bits == 16) return DType::f16;
    if (type.code == dlpack::bfloat_code && type.bits == 16) return DType::bf16;
    if (type.code == dlpack::int_code && type.bits == 64) return DType::i64;
    if (type.code == dlpack::int_code && type.bits == 32) return DType::i32;
    if (type.code == dlpack::uint_code && type.bits == 8) return DType::u8;
    if (type.code == dlpack::bool_code && type.bits == 8) return DType::boolean;
  }
  static const char* const codes[] = {"int", "uint", "float", "opaque", "bfloat", "complex", "bool"};
  wrong_dtype(name, (type.code < 7 ? codes[type.code] : "code " + std::to_string(type.code)) + std::to_string(type.bits));
}

dlpack::DTypeCode code_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return {dlpack::float_code, 32, 1};
    case DType::bf16:
      return {dlpack::bfloat_code, 16, 1};
    case DType::f16:
      return {dlpack::float_code, 16, 1};
    case DType::i64:
      return {dlpack::int_code, 64, 1};
    case DType::i32:
      return {dlpack::int_code, 32, 1};
    case DType::u8:
      return {dlpack::uint_code, 8, 1};
    case DType::boolean:
      return {dlpack::bool_code, 8, 1};
  }
  return {};
}

Tensor from_dlpack(const dlpack::Array& array, const Name& name, std::shared_ptr<void> owner) {
  if (array.device != dlpack::cpu) fail(name, "an array on the CPU", "device type " + std::to_string(array.device));
  if (array.rank > max_rank) fail(name, "at most 8 axes", std::to_string(array.rank));
  View view{static_cast<char*>(array.data) + array.byte_offset,
            dtype_of(array.dtype, name),
            Shape(std::span<const std::int64_t>(array.shape, std::size_t(array.rank))),
            {}};
  if (array.strides)
    for (int i = 0; i < array.rank; ++i) view.strides[std::size_t(i)] = array.strides[i];
  else
    view = dense_view(view.data, view.dtype, view.shape);
  return {view, std::move(owner)};
}

/// What is known of torch once its Tensor class has been seen; null for other torches. Attributes are looked up once: looking
/// them up at each call costs as much as a small op.
struct Torch {
  PyObject *tensor_type = nullptr, *parameter_type = nullptr;
  const dlpack::ExchangeApi* api = nullptr;
  PyObject *requires_grad = nullptr, *is_neg = nullptr;  // a property and a method of the class
};
Torch torch;

const dlpack::ExchangeApi* exchange_api(nb::handle type) {
  const nb::object capsule = nb::getattr(type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  const auto* api = static_cast<const dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->version.major != 1) api = api->previous;
  return api;
}

/// Whether this is a torch.Tensor (or a subclass, such as Parameter); torch is never imported for it.
bool is_torch(nb::handle object) {
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
  if (type == torch.tensor_type || type == torch.parameter_type) return true;
  if (!torch.tensor_type) {
    const nb::handle module = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");
    if (!module || !nb::hasattr(module, "Tensor")) return false;
    torch.tensor_type = nb::object(module.attr("Tensor")).release().ptr();
    torch.api = exchange_api(torch.tensor_type);
    torch.requires_grad = nb::object(module.attr("Tensor").attr("requires_grad")).release().ptr();
    torch.is_neg = nb::object(module.attr("Tensor").attr("is_neg")).release().ptr();
  }
  const int is = PyObject_IsInstance(object.ptr(), torch.tensor_type);
  if (is < 0) throw nb::python_error();
  if (is && !torch.parameter_type && std::strcmp(Py_TYPE(object.ptr())->tp_name, "Parameter") == 0)
    torch.parameter_type = nb::handle(type).inc_ref().ptr();
  return is;
}

nb::object checked(PyObject* made) {
  if (!made) throw nb::python_error();
  return nb::steal(made);
}

bool requires_grad(nb::handle object) {
  PyObject *descriptor = torch.requires_grad, *type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
  if (PyObject_TypeCheck(descriptor, &PyGetSetDescr_Type) && (type == torch.tensor_type || type == torch.parameter_type)) {
    const PyGetSetDef* property = reinterpret_cast<PyGetSetDescrObject*>(descriptor)->d_getset;
    return checked(property->get(object.ptr(), property->closure)).ptr() == Py_True;
  }
  return nb::object(object.attr("requires_grad")).ptr() == Py_True;
}

/// A negative view (the imaginary parts of conjugates) shows other numbers than its memory holds. Asking torch costs as much as a
/// small op, so that it is asked of what may be one: imaginary parts are every second number, the first of them an odd one.
bool may_be_negative(const dlpack::Array& array) {
  const auto size = std::uintptr_t(array.dtype.bits / 8);
  if (array.dtype.code != dlpack::float_code || size == 0 || !array.strides) return false;
  if ((reinterpret_cast<std::uintptr_t>(array.data) + array.byte_offset) % (2 * size) != 0) return true;
  for (int i = 0; i < array.rank; ++i)
    if (array.shape[i] > 1 && array.strides[i] % 2 != 0) return false;
  return true;
}

Array take_torch(nb::handle object, const Name& name, Lenders& lenders) {
  Array array;
  array.kind = Kind::torch;
  array.requires_grad = requires_grad(object);
  if (torch.api && torch.api->array_from_object) {
    dlpack::Array borrowed;
    if (torch.api->array_from_object(object.ptr(), &borrowed) != 0) {
      PyErr_Clear();
      const auto text = [&](const char* attribute) { return nb::cast<std::string>(nb::str(nb::object(object.attr(attribute)))); };
      const std::string layout = text("layout"), device = text("device");
      const bool traced = layout == "torch.strided" && device == "cpu";  // what torch.vmap, torch.func and torch.export pass through
      fail(name, "a dense tensor on the CPU",
           traced ? "one without storage of its own (torch.vmap, torch.func or torch.export)" : layout + " on " + device);
    }
    nb::object resolved;
    if (PyObject* self = object.ptr();
        may_be_negative(borrowed) && checked(PyObject_Vectorcall(torch.is_neg, &self, 1, nullptr)).ptr() == Py_True) {
      object = resolved = object.attr("resolve_neg")();
      torch.api->array_from_object(object.ptr(), &borrowed);
    }
    array.tensor = from_dlpack(borrowed, name, lenders.add(object));
    return array;
  }
  // A torch without the exchange API: the same through a capsule, which the tensor's owner keeps.
  const nb::object plain = array.requires_grad ? nb::object(object.attr("detach")()) : nb::borrow(object);
  const nb::object capsule = plain.attr("__dlpack__")();
  struct Legacy {
    dlpack::Array array;
  };
  const auto* managed = static_cast<Legacy*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!managed) throw nb::python_error();
  array.tensor = from_dlpack(managed->array, name, lenders.add(capsule));
  return array;
}

DType dtype_of_format(const char* format, Py_ssize_t size, const Name& name) {
  const char* f = format ? format : "B";
  if (*f == '@' || *f == '=' || *f == '<') ++f;
  const std::string letter = f;
  if (letter == "f") return DType::f32;
  if (letter == "e") return DType::f16;
  if ((letter == "l" || letter == "q") && size == 8) return DType::i64;
  if ((letter == "i" || letter == "l") && size == 4) return DType::i32;
  if (letter == "B") return DType::u8;
  if (letter == "?") return DType::boolean;
  wrong_dtype(name, letter == "d" ? "float64" : "format '" + std::string(format ? format : "") + "'");
}

struct Buffer {
  Py_buffer view{};
  ~Buffer() {
    if (!Py_IsInitialized()) return;
    nb::gil_scoped_acquire lock;
    PyBuffer_Release(&view);
  }
};

/// `known`: the dtype, where the buffer's format does not tell it.
Array take_buffer(nb::handle object, const Name& name, std::optional<DType> known = {}) {
  auto buffer = std::make_shared<Buffer>();
  if (PyObject_GetBuffer(object.ptr(), &buffer->view, PyBUF_STRIDES | PyBUF_FORMAT) != 0) throw nb::python_error();
  const Py_buffer& b = buffer->view;
  const DType dtype = known ? *known : dtype_of_format(b.format, b.itemsize, name);
  if (b.ndim > max_rank) fail(name, "at most 8 axes", std::to_string(b.ndim));
  std::vector<std::int64_t> extents(b.shape, b.shape + b.ndim);
  View view = dense_view(b.buf, dtype, Shape(extents));
  for (int i = 0; i < b.ndim; ++i) {
    if (b.strides[i] % b.itemsize != 0) fail(name, "strides that are whole elements", std::to_string(b.strides[i]) + " bytes");
    view.strides[std::size_t(i)] = b.strides[i] / b.itemsize;
  }
  return {Tensor(view, std::move(buffer)), Kind::numpy, false};
}

bool is_bfloat16(nb::handle object) {
  if (!nb::hasattr(object, "dtype")) return false;
  const nb::object dtype = object.attr("dtype");
  return nb::hasattr(dtype, "name") && nb::cast<std::string>(nb::str(dtype.attr("name"))) == "bfloat16";
}

nb::object give_torch(Tensor given) {
  struct Held {
    explicit Held(Tensor&& t) : tensor(std::move(t)) {}
    dlpack::Managed managed;
    Tensor tensor;
    std::int64_t shape[max_rank], strides[max_rank];
  };
  for (int i = 0; i < given.rank(); ++i)
    if (given.stride(i) < 0 && given.extent(i) > 1) given = given.dense();  // torch knows no way back
  auto* held = new Held(std::move(given));
  const Tensor& tensor = held->tensor;
  for (int i = 0; i < tensor.rank(); ++i) held->shape[i] = tensor.extent(i), held->strides[i] = tensor.extent(i) > 1 ? tensor.stride(i) : 1;
  held->managed = {{1, 0},
                   held,
                   [](dlpack::Managed* m) { delete static_cast<Held*>(m->context); },
                   0,
                   {tensor.raw_view().data, dlpack::cpu, 0, tensor.rank(), code_of(tensor.dtype()), held->shape, held->strides, 0}};
  if (torch.api && torch.api->object_from_managed) {
    void* object = nullptr;
    if (torch.api->object_from_managed(&held->managed, &object) != 0) {
      delete held;
      throw nb::python_error();
    }
    return nb::steal(static_cast<PyObject*>(object));
  }
  const nb::object capsule = nb::steal(PyCapsule_New(&held->managed, "dltensor_versioned", [](PyObject* c) {
    if (PyCapsule_IsValid(c, "dltensor_versioned")) {
      auto* m = static_cast<dlpack::Managed*>(PyCapsule_GetPointer(c, "dltensor_versioned"));
      m->deleter(m);
    }
  }));
  return nb::module_::import_("torch.utils.dlpack").attr("from_dlpack")(capsule);
}

nb::dlpack::dtype numpy_dtype(DType dtype) {
  if (dtype == DType::bf16) return {dlpack::uint_code, 16, 1};
  const auto code = code_of(dtype);
  return {code.code, code.bits, code.lanes};
}

}  // namespace

void wrong_kind(const std::string& name, const std::string& expected, nb::handle object) {
  throw nb::type_error((name + ": expected " + expected + ", got " + Py_TYPE(object.ptr())->tp_name).c_str());
}

Array take(nb::handle object, const Name& name, Lenders& lenders) {
  if (is_torch(object)) return take_torch(object, name, lenders);
  if (PyBytes_Check(object.ptr()) || PyUnicode_Check(object.ptr())) wrong_kind(name, "an array of numpy or torch", object);
  if (!PyObject_CheckBuffer(object.ptr())) wrong_kind(name, "an array of numpy or torch", object);
  try {
    return take_buffer(object, name);
  } catch (const nb::python_error&) {
    // numpy gives no buffer for a dtype that it does not know itself.
    if (!is_bfloat16(object)) throw;
    Array array = take_buffer(object.attr("view")("uint16"), name, DType::bf16);
    array.kind = Kind::ml_dtypes;
    return array;
  }
}

bool torch_records() {
  static PyObject* const is_enabled = nb::object(nb::module_::import_("torch").attr("is_grad_enabled")).release().ptr();
  return nb::object(nb::handle(is_enabled)()).ptr() == Py_True;
}

nb::object give(Tensor tensor, Kind kind) {
  if (kind == Kind::torch) return give_torch(std::move(tensor));
  auto* held = new Tensor(tensor);
  const nb::capsule owner(held, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  std::size_t shape[max_rank];
  std::int64_t strides[max_rank];
  for (int i = 0; i < tensor.rank(); ++i) shape[i] = std::size_t(tensor.extent(i)), strides[i] = tensor.stride(i);
  const nb::ndarray<nb::numpy> array(tensor.view().data, std::size_t(tensor.rank()), shape, owner, strides, numpy_dtype(tensor.dtype()));
  const nb::object made = nb::cast(array, nb::rv_policy::reference);
  if (tensor.dtype() != DType::bf16) return made;
  return made.attr("view")(nb::module_::import_("ml_dtypes").attr("bfloat16"));
}

}  // namespace heed::python
