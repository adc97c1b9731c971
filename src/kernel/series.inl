// SPDX-License-Identifier: Apache-2.0
// 2^f on [0, 1) where exp2_floors, else on [-1/2, 1/2]. No includes here: this is inside a namespace.

/// Polynomials for 2^f, the least largest relative error: degree 5 7.5e-8, degree 3 7.5e-5 (an eighth of bf16's rounding).
template <int degree>
inline V exp2_series(V f) {
  if constexpr (exp2_floors && degree == 5) {
    V y = fma(set1(0.00187757669f), f, set1(0.00898933969f));
    y = fma(y, f, set1(0.0558263175f));
    y = fma(y, f, set1(0.240153611f));
    y = fma(y, f, set1(0.693153083f));
    return fma(y, f, set1(0.99999994f));
  } else if constexpr (exp2_floors) {
    V y = fma(set1(0.0780245215f), f, set1(0.226067156f));
    y = fma(y, f, set1(0.695833564f));
    return fma(y, f, set1(0.999925196f));
  } else if constexpr (degree == 5) {
    V y = fma(set1(0.00132764725f), f, set1(0.00967554096f));
    y = fma(y, f, set1(0.0555071309f));
    y = fma(y, f, set1(0.240221202f));
    y = fma(y, f, set1(0.693146944f));
    return fma(y, f, set1(1.00000012f));
  } else {
    V y = fma(set1(0.0551716685f), f, set1(0.242611125f));
    y = fma(y, f, set1(0.693260968f));
    return fma(y, f, set1(0.999928057f));
  }
}
