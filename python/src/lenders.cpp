// SPDX-License-Identifier: Apache-2.0
#include "lenders.h"

namespace heed::python {

struct Lenders::Held {
  std::vector<PyObject*> objects;

  ~Held() {
    if (objects.empty() || !Py_IsInitialized()) return;
    const nb::gil_scoped_acquire lock;  // the last tensor may go on any thread
    release();
  }
  void release() {
    for (PyObject* object : objects) Py_DECREF(object);
    objects.clear();
  }

  /// What the last call that kept nothing has left, for the next.
  static std::shared_ptr<Held>& spare() {
    thread_local std::shared_ptr<Held> held;
    return held;
  }
};

Lenders::Lenders() : held_(std::move(Held::spare())) {
  if (!held_) held_ = std::make_shared<Held>();
}

Lenders::~Lenders() {
  if (held_.use_count() != 1) return;  // a tensor lives on
  held_->release();
  Held::spare() = std::move(held_);
}

std::shared_ptr<void> Lenders::add(nb::handle object) {
  held_->objects.push_back(object.inc_ref().ptr());
  return held_;
}

}  // namespace heed::python
