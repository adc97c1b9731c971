// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

void bind_elementwise(nb::module_& m) {
  bind(m, "add(a, b)", &Ops::add, "a + b; shapes broadcast.");
  bind(m, "sub(a, b)", &Ops::sub, "a - b; shapes broadcast.");
  bind(m, "mul(a, b)", &Ops::mul, "a b; shapes broadcast.");
  bind(m, "div(a, b)", &Ops::div, "a / b; shapes broadcast.");
  bind(m, "maximum(a, b)", &Ops::maximum, "The larger of each pair; NaN wins.");
  bind(m, "minimum(a, b)", &Ops::minimum, "The smaller of each pair; NaN wins.");
  bind(m, "where(mask, a, b)", &Ops::where, "a where mask is true, else b; shapes broadcast.");
  bind(m, "scale(x, factor)", &Ops::scale, "factor x.");
  bind(m, "shift(x, offset)", &Ops::shift, "x + offset.");
  bind(m, "exp(x)", &Ops::exp, "e to the x.");
  bind(m, "log(x)", &Ops::log, "The natural logarithm.");
  bind(m, "sigmoid(x)", &Ops::sigmoid, "1 / (1 + exp(-x)).");
  bind(m, "tanh(x)", &Ops::tanh, "The hyperbolic tangent.");
  bind(m, "relu(x)", &Ops::relu, "max(x, 0).");
  bind(m, "gelu(x, by_tanh=False)", &Ops::gelu, "x times the normal distribution function of x, by erf unless by_tanh.");
  bind(m, "silu(x)", &Ops::silu, "x sigmoid(x).");
  bind(m, "softplus(x)", &Ops::softplus, "log(1 + exp(x)).");
  bind(m, "neg(x)", &Ops::neg, "-x.");
  bind(m, "sqrt(x)", &Ops::sqrt, "The square root.");
  bind(m, "rsqrt(x)", &Ops::rsqrt, "1 / sqrt(x).");
  bind(m, "square(x)", &Ops::square, "x x.");
  bind(m, "abs(x)", &Ops::abs, "|x|.");
  bind(m, "sign(x)", &Ops::sign, "-1, 0 or 1.");
  bind(m, "sin(x)", &Ops::sin, "The sine.");
  bind(m, "cos(x)", &Ops::cos, "The cosine.");
  bind(m, "erf(x)", &Ops::erf, "The error function.");
  bind(m, "log1p(x)", &Ops::log1p, "log(1 + x).");
  bind(m, "pow(x, exponent)", &Ops::pow, "x to a power.");
  bind(m, "clamp(x, least, most)", &Ops::clamp, "x brought between two bounds; no gradient outside.");
  bind(m, "leaky_relu(x, slope=0.01)", &Ops::leaky_relu, "x where positive, else slope x.");
  bind(m, "elu(x, alpha=1.0)", &Ops::elu, "x where positive, else alpha (exp(x) - 1).");
  bind(m, "less(a, b)", &Ops::less, "A mask: a < b; shapes broadcast.");
  bind(m, "equal(a, b)", &Ops::equal, "A mask: a equals b; shapes broadcast.");
  bind(m, "both(a, b)", &Ops::both, "Where both masks hold.");
  bind(m, "either(a, b)", &Ops::either, "Where one of two masks holds.");
  bind(m, "negate(mask)", &Ops::negate, "Where a mask does not hold.");
}

}  // namespace heed::python
