// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

void bind_products(nb::module_& m) {
  bind(m, "linear(x, weight, bias=None)", &Ops::linear, "x[..., in] weight[out, in]^T + bias[out].");
  bind(m, "matmul(a, b)", &Ops::matmul, "a[..., m, k] b[..., k, n]; leading axes broadcast.");
}

void bind_norm(nb::module_& m) {
  bind(m, "layer_norm(x, weight=None, bias=None, epsilon=1e-5)", &Ops::layer_norm, "Layer norm over the last axis.");
  bind(m, "rms_norm(x, weight=None, epsilon=1e-6)", &Ops::rms_norm, "Root-mean-square norm over the last axis.");
  bind(m, "rope(x, cos, sin, interleaved=False)", &Ops::rope,
       "x[B, N, H, D], cos and sin[N, R/2]: turns the pairs (i, i + R/2), interleaved (2i, 2i + 1), of the first R of D.");
}

}  // namespace heed::python
