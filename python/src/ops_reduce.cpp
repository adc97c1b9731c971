// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

void bind_reduce(nb::module_& m) {
  bind(m, "sum(x, axes, keepdim=False)", &Ops::sum, "The sum over axes.");
  bind(m, "mean(x, axes, keepdim=False)", &Ops::mean, "The mean over axes.");
  bind(m, "max(x, axes, keepdim=False)", &Ops::max, "The largest over axes.");
  bind(m, "min(x, axes, keepdim=False)", &Ops::min, "The smallest over axes.");
  bind(m, "argmax(x, axis, keepdim=False)", &Ops::argmax, "Index of the largest (int64); the first of equals.");
  bind(m, "softmax(x, axis)", &Ops::softmax, "Softmax over an axis; a lane that is -inf throughout gives zeros.");
  bind(m, "log_softmax(x, axis)", &Ops::log_softmax, "Logarithm of the softmax; a lane that is -inf throughout gives -inf.");
  bind(m, "logsumexp(x, axis, keepdim=False)", &Ops::logsumexp, "log(sum(exp(x))) over an axis.");
  bind(m, "cumsum(x, axis)", &Ops::cumsum, "Sums of the elements up to and with each.");
}

}  // namespace heed::python
