// SPDX-License-Identifier: Apache-2.0
// The module heed._heed: what python/heed dresses up. heed::Error is a std::invalid_argument, so a ValueError.
#include "module.h"

NB_MODULE(_heed, m) {
  using namespace heed::python;
  nb::set_leak_warnings(false);  // ops live as long as the process
  bind_attend(m);
  bind_catalogue(m);
  auto ops = m.def_submodule("ops");
  nb::class_<Op>(ops, "Op", nb::dynamic_attr())
      .def("__call__", &Op::call)
      .def("__repr__", [](const Op& op) { return "heed.ops." + op.name + op.text; })
      .def_prop_ro("__signature__", &Op::signature);
  bind_all_ops(ops);
}
