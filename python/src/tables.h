// SPDX-License-Identifier: Apache-2.0
// The groups of ops, each a table in its own file; a new group is one line here and one in bind_all_ops.
#pragma once
#include "bind.h"

namespace heed::python {

void bind_elementwise(nb::module_& m);
void bind_lists(nb::module_& m);
void bind_maps(nb::module_& m);
void bind_norm(nb::module_& m);
void bind_products(nb::module_& m);
void bind_reduce(nb::module_& m);
void bind_scan(nb::module_& m);
void bind_select(nb::module_& m);
void bind_words(nb::module_& m);

inline void bind_all_ops(nb::module_& m) {
  for (auto* group : {bind_elementwise, bind_lists, bind_maps, bind_norm, bind_products, bind_reduce, bind_scan, bind_select, bind_words})
    group(m);
}

}  // namespace heed::python
