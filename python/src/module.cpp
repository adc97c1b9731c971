// SPDX-License-Identifier: Apache-2.0
// The module heed._heed: what python/heed dresses up. heed::Error is a std::invalid_argument, so a ValueError.
#include "module.h"

NB_MODULE(_heed, m) {
  using namespace heed::python;
  nb::set_leak_warnings(false);  // ops live as long as the process
  bind_attend(m);
  bind_catalogue(m);
  auto ops = m.def_submodule("ops");
  add_op_type(ops);
  bind_all_ops(ops);
}
