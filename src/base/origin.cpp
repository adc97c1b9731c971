// SPDX-License-Identifier: Apache-2.0
#include <atomic>

#include "heed/tape.h"

namespace heed {
inline namespace v0 {
namespace {

std::uint64_t next_order() {
  static std::atomic<std::uint64_t> count{0};
  return count++;
}

}  // namespace

Origin::Origin() : op("leaf"), order(next_order()) {}
Origin::Origin(std::string name, std::vector<Source> from, Derivative rule)
    : op(std::move(name)), inputs(std::move(from)), derivative(std::move(rule)), order(next_order()) {}
Origin::Origin(std::string name, std::vector<Source> from, ViewStep back)
    : op(std::move(name)), inputs(std::move(from)), step(std::make_shared<const ViewStep>(std::move(back))), order(next_order()) {}

Origin::~Origin() {
  std::vector<Source> rest = std::move(inputs);
  derivative = nullptr;  // `rest` still holds what its captures come from, so their destructors do not nest
  while (!rest.empty()) {
    const Source last = std::move(rest.back());
    rest.pop_back();
    if (last.origin && last.origin.use_count() == 1) {
      for (Source& source : last.origin->inputs) rest.push_back(std::move(source));
      last.origin->inputs.clear();
    }
  }
}

Tensor leaf(const Tensor& x) { return x.with_origin(std::make_shared<const Origin>()); }

}  // namespace v0
}  // namespace heed
