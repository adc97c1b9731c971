// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

namespace heed::python {

namespace nb = nanobind;

/// The Python objects whose memory the tensors of one call see: all live until the last of those tensors is gone, by one count
/// that the tensors share.
class Lenders {
 public:
  Lenders();
  ~Lenders();  ///< under the interpreter's lock
  Lenders(const Lenders&) = delete;
  Lenders& operator=(const Lenders&) = delete;
  Lenders(Lenders&&) = default;
  Lenders& operator=(Lenders&&) = delete;

  /// An owner for a tensor on the memory of `object`.
  std::shared_ptr<void> add(nb::handle object);

 private:
  struct Held;
  std::shared_ptr<Held> held_;
};

}  // namespace heed::python
