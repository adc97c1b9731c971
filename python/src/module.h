// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "tables.h"

namespace heed::python {

void bind_attend(nb::module_& m);
void bind_catalogue(nb::module_& m);

}  // namespace heed::python
