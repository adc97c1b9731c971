// SPDX-License-Identifier: Apache-2.0
// e^x for weights and decays. No includes here: this is inside a namespace, behind the vector words.

/// 0 below -87, e^87 above 87, NaN where x is. x = (n + f) ln 2, |f| <= 1/2: a polynomial of degree 6 for 2^f (relative error 2e-9),
/// n added to the exponent. The reduction is in two parts.
inline V exp_of(V x) {
  const V least = set1(-87.0f), bounded = min(set1(87.0f), max(least, x)), n = round(mul(bounded, set1(1.44269504088896341f)));
  const V f = mul(fma(n, set1(-1.42860677e-6f), fma(n, set1(-0.693145752f), bounded)), set1(1.44269504088896341f));
  V y = set1(1.54614447e-4f);
  y = fma(y, f, set1(1.34004282e-3f));
  y = fma(y, f, set1(9.61805668e-3f));
  y = fma(y, f, set1(5.55032723e-2f));
  y = fma(y, f, set1(2.40226509e-1f));
  y = fma(y, f, set1(6.93147207e-1f));
  y = fma(y, f, set1(1.0f));
  return if_less(x, least, zero(), scale_by(y, n));
}
