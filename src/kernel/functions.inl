// SPDX-License-Identifier: Apache-2.0
// Functions of a vector V of `width` floats (their errors: elementwise.h): included by elementwise_avx2.cpp and
// elementwise_avx512.cpp inside their namespaces. Polynomials have the least largest relative error on their interval.

/// horner(x, c0, c1, ...) = c0 + x (c1 + x (...)).
template <class W>
HEED_INLINE inline V horner(const W&, float c) {
  return set1(c);
}
template <class W, class... C>
HEED_INLINE inline W horner(const W& x, float c, C... rest) {
  return fma(horner(x, rest...), x, set1(c));
}

/// With x = n ln 2 + r, n whole: r.
template <class W>
HEED_INLINE inline W rest_of(const W& x, const W& n) {
  return fma(n, set1(-1.42860677e-6f), fma(n, set1(-0.693145752f), x));
}
/// e^r - 1 for |r| up to ln(2) / 2.
template <class W>
HEED_INLINE inline W expm1_series(const W& r) {
  return fma(mul(r, r), horner(r, 0.49999994f, 0.1666652f, 0.0416684f, 0.00836885f, 0.00138143206f), r);
}

/// e^(x + low), |low| small.
inline V exp_of(V x, V low) {
  x = max(set1(-110), min(set1(90), x));  // NaN is the second and stays
  const V n = round(mul(x, set1(1.44269504f)));
  return scale_far(add(expm1_series(add(rest_of(x, n), low)), set1(1)), n);
}
template <class W>
HEED_INLINE inline W exp_of(const W& x) {
  const W y = max(set1(-110), min(set1(90), x)), n = round(mul(y, set1(1.44269504f)));
  return scale_far(add(expm1_series(rest_of(y, n)), set1(1)), n);
}
/// e^-|x|; 0 where |x| > 87.
inline V exp_below(V x) {
  const V a = sub(zero(), abs(x)), b = max(set1(-87), a), n = round(mul(b, set1(1.44269504f)));
  return if_less(a, set1(-87), zero(), scale_by(add(expm1_series(rest_of(b, n)), set1(1)), n));
}
/// e^x - 1 for x <= 0.
inline V expm1_of(V x) {
  const V b = max(set1(-30), x), n = round(mul(b, set1(1.44269504f))), power = scale_by(set1(1), n);
  return fma(power, expm1_series(rest_of(b, n)), sub(power, set1(1)));
}

inline V tanh_of(V x) {
  const V a = abs(x), s = mul(x, x);
  const V small = fma(mul(x, s), horner(s, -0.33333328f, 0.13332768f, -0.053850796f, 0.020996826f, -0.0060963375f), x);
  const V large = sub(set1(1), div(set1(2), add(exp_of(add(a, a)), set1(1))));
  return if_less(a, set1(0.625f), small, copy_sign(large, x));
}

/// 1 + e^-x where x > -88, in one rounding: 2^n (e^r - 1) is added to 1 + 2^n, which loses the 1 where n is 24.
inline V one_and_exp(V x) {
  const V b = max(set1(-88), min(set1(80), x)), n = round(mul(b, set1(-1.44269504f))), power = scale_by(set1(1), n);
  const V series = add(expm1_series(rest_of(sub(zero(), b), n)), choice(equal_to(n, set1(24)), set1(0x1p-24f), zero()));
  return fma(power, series, add(power, set1(1)));
}
inline V sigmoid_of(V x) { return if_less(x, set1(-88), zero(), div(set1(1), one_and_exp(x))); }
inline V silu_of(V x) { return if_less(x, set1(-88), mul(x, zero()), div(x, one_and_exp(x))); }
inline V gelu_tanh_of(V x) {
  const V z = mul(mul(x, set1(1.59576912f)), fma(mul(x, x), set1(0.044715f), set1(1)));
  return if_less(z, set1(-88), mul(x, zero()), div(x, one_and_exp(z)));
}

/// 1 - erf(z) for z >= 0, square + low being z^2 to twice the digits: e^(-z^2) t q(t - 0.6), t = 1 / (1 + z / 2).
inline V erfc_of(V z, V square, V low) {
  const V t = div(set1(1), fma(z, set1(0.5f), set1(1)));
  const V q = horner(sub(t, set1(0.6f)), 0.5852245092391968f, 0.8025886416435242f, 0.5914708375930786f, 0.06869079917669296f,
                     -0.20782773196697235f, -0.037937991321086884f, 0.1137913316488266f, -0.007486988790333271f, -0.07073361426591873f,
                     0.023569300770759583f, 0.03576730191707611f);
  return mul(exp_of(sub(zero(), square), sub(zero(), low)), mul(t, q));
}
/// erf(x) / x - 1 for |x| < 1, from x^2.
inline V erf_series(V square) {
  return horner(square, 0.128379167f, -0.37612626f, 0.112835854f, -0.026853811f, 0.0051883273f, -0.00080101914f, 7.853854e-05f);
}
inline V erf_of(V x) {
  const V a = min(set1(10.1f), abs(x)), s = mul(a, a);
  const V small = fma(x, erf_series(s), x);
  return if_less(a, set1(1), small, copy_sign(sub(set1(1), erfc_of(a, s, fms(a, a, s))), x));
}
/// x times the share of the normal distribution below x: max(x, 0) less |x| times the share beyond |x|, which is 2^(-47/64 x^2) times a
/// polynomial for the part of an octave in which 1 + |x| lies, as many parts as a vector has lanes. Below -13 its value there, -8e-38.
template <class W>
HEED_INLINE inline W gelu_of(const W& x) {
  const W a = min(set1(13), abs(x));
  const auto part = octave_part(add(a, set1(1)));
  const W s = mul(a, a), u = sub(a, pick(part, gelu_centre));
  const V rate = set1(-0.734375f), magic = set1(0x1.8p23f);
  const W t = fma(s, rate, magic), f = fma(fms(a, a, s), rate, fma(s, rate, sub(magic, t)));  // rate has six bits: f loses nothing
  constexpr int degree = int(sizeof(gelu_terms) / sizeof(gelu_terms[0])) - 1;
  W p = pick(part, gelu_terms[degree]);
#pragma GCC unroll 8
  for (int k = degree - 1; k >= 0; --k) p = fma(p, u, pick(part, gelu_terms[k]));
  const W power = horner(f, 1, 0.693147182f, 0.240226462f, 0.0555032864f, 0.00961848907f, 0.00133999309f, 0.000153458124f);
  return fma(sub(zero(), a), mul(scale_by_last(power, t), p), max(zero(), x));
}

/// ln(1 + f) + e ln 2 for f in [-1/4, 1/2].
inline V log_series(V f, V e) {
  const V s = mul(f, f),
          p = horner(f, 0.3333345f, -0.25000095f, 0.19990861f, -0.16647312f, 0.14478396f, -0.13161194f, 0.10463021f, -0.045074783f);
  const V low = fma(e, set1(-0.000212194442f), mul(mul(s, f), p));
  return fma(e, set1(0.693359375f), add(f, fma(set1(-0.5f), s, low)));
}
inline V log_of(V x) {
  V e;
  const V m = parts_of(x, e);
  return log_strange(x, log_series(sub(m, set1(1)), e));
}
/// ln(1 + x): what 1 + x lost is put back.
inline V log1p_of(V x) {
  const V u = add(set1(1), x);
  V e;
  const V m = parts_of(u, e);
  const V lost = if_less(abs(x), set1(1e7f), sub(x, sub(u, set1(1))), zero());
  const V f = add(sub(m, set1(1)), mul(lost, scale_by(set1(1), max(set1(-30), min(set1(30), sub(zero(), e))))));
  return if_less(abs(x), set1(1e-30f), x, log_strange(u, log_series(f, e)));
}
/// max(x, 0) + ln(1 + e^-|x|).
inline V softplus_of(V x) {
  const V y = exp_below(x), half = set1(0.5f);
  const V low = log_series(if_less(y, half, y, mul(half, sub(y, set1(1)))), if_less(y, half, zero(), set1(1)));
  return add(max(zero(), x), low);
}

/// The sine (quarter 0) or cosine (1) of x, |x| < 1e5, by the turns' quarter nearest to x.
inline V wave_of(V x, int quarter) {
  const V n = round(mul(x, set1(0.636619772f)));
  const V r = fma(n, set1(1.71512451e-15f), fma(n, set1(4.37113883e-8f), fma(n, set1(-1.57079637f), x))), s = mul(r, r);
  const V sine = fma(mul(r, s), horner(s, -0.16666654f, 0.0083320634f, -0.00019502135f), r);
  const V cosine = fma(mul(s, s), horner(s, 0.041666642f, -0.0013887185f, 2.4418128e-05f), fma(set1(-0.5f), s, set1(1)));
  return turned(sine, cosine, n, quarter);
}

/// x^p for positive x that are not denormal: 2^(p log2 x) in f64.
inline D power_of(D x, double p) {
  D e;
  const D m = parts_of(x, e), one = all(1), t = over(minus(m, one), plus(m, one)), s = times(t, t);
  D q = times_plus(all(0.34837320673472383), s, all(0.4112078576445282));
  q = times_plus(q, s, all(0.5770923073876425));
  q = times_plus(q, s, all(0.9617966220352372));
  q = times_plus(q, s, all(2.8853900818356943));
  const D y = within(times(all(p), times_plus(q, t, e)), -200, 200), n = round(y), f = minus(y, n);
  D z = times_plus(all(0.00015345811565994384), f, all(0.0013399931215255512));
  z = times_plus(z, f, all(0.009618488958719043));
  z = times_plus(z, f, all(0.05550328776977004));
  z = times_plus(z, f, all(0.24022646890619437));
  z = times_plus(z, f, all(0.6931472057372601));
  return scale_by(times_plus(z, f, all(1.000000000554167)), n);
}

inline V abs_of(V x) { return abs(x); }
inline V sqrt_of(V x) { return sqrt(x); }
inline V cube_of(V x) { return mul(mul(x, x), x); }
inline V rsqrt_of(V x) { return div(set1(1), sqrt(x)); }
/// -1, 0 (of NaN, too) or 1.
inline V sign_of(V x) { return if_less(zero(), abs(x), copy_sign(set1(1), x), zero()); }
inline V leaky_of(V x, V slope) { return if_less(zero(), x, x, mul(x, slope)); }
inline V elu_of(V x, V alpha) { return if_less(zero(), x, x, mul(alpha, expm1_of(x))); }
