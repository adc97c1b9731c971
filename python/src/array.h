// SPDX-License-Identifier: Apache-2.0
// Arrays of Python (numpy, torch on the CPU, anything with a buffer or DLPack) as heed::Tensor and back, without copying.
#pragma once
#include <nanobind/nanobind.h>

#include <optional>
#include <string>

#include "heed/tensor.h"
#include "lenders.h"
#include "name.h"

namespace heed::python {

/// What an array came as, and so what results go back as.
enum class Kind : std::uint8_t { numpy, ml_dtypes, torch };

struct Array {
  Tensor tensor;  ///< keeps the Python object alive, through the lenders of the call
  Kind kind = Kind::numpy;
  bool requires_grad = false;  ///< torch alone
};

/// `name` is for messages. Throws TypeError for what is no array, ValueError for another device, a dtype heed lacks (float64
/// among them) or a byte order that is not the machine's.
Array take(nb::handle object, const Name& name, Lenders& lenders);

/// torch.is_grad_enabled().
bool torch_records();

/// An array that owns its share of the tensor's storage. bf16 becomes ml_dtypes.bfloat16 for numpy, where that is installed.
nb::object give(Tensor tensor, Kind kind);

/// Throws TypeError("NAME: expected EXPECTED, got the type of OBJECT").
[[noreturn]] void wrong_kind(const std::string& name, const std::string& expected, nb::handle object);

}  // namespace heed::python
