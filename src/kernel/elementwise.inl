// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h, written against a vector type V of `width` floats: included by elementwise_avx2.cpp and
// elementwise_avx512.cpp inside their namespaces.

/// horner(x, c0, c1, ...) = c0 + x (c1 + x (...)).
inline V horner(V, float c) { return set1(c); }
template <class... C>
inline V horner(V x, float c, C... rest) {
  return fma(horner(x, rest...), x, set1(c));
}

/// e^(x + low), |low| small. With x = n ln 2 + r: e^r = 1 + r + r^2 p(r), times 2^n.
inline V exp_of(V x, V low) {
  x = max(set1(-110), min(set1(90), x));  // NaN is the second and stays
  const V n = round(mul(x, set1(1.44269504f)));
  const V r = add(fma(n, set1(-1.42860677e-6f), fma(n, set1(-0.693145752f), x)), low);
  const V p = horner(r, 0.5f, 0.16666667f, 0.041666467f, 0.008333361f, 0.001393363f, 0.00019857803f);
  return scale_far(add(fma(mul(r, r), p, r), set1(1)), n);
}
inline V exp_of(V x) { return exp_of(x, zero()); }

inline V tanh_of(V x) {
  const V a = abs(x), s = mul(x, x);
  const V small = fma(mul(x, s), horner(s, -0.33333328f, 0.13332768f, -0.053850796f, 0.020996826f, -0.0060963375f), x);
  const V large = sub(set1(1), div(set1(2), add(exp_of(add(a, a)), set1(1))));
  return if_less(a, set1(0.625f), small, copy_sign(large, x));
}

/// 1 / (1 + e^-x) by e^-|x|, which stays below 1; what 1 + e and the reciprocal lost is put back into the quotient.
inline V sigmoid_of(V x) {
  const V e = exp_of(sub(zero(), abs(x))), s = add(set1(1), e), lost = sub(e, sub(s, set1(1)));
  const V above = if_less(x, zero(), e, set1(1)), inverse = div(set1(1), s), q = mul(above, inverse), minus = sub(zero(), q);
  return fma(fma(minus, lost, fma(minus, s, above)), inverse, q);
}
inline V silu_of(V x) { return mul(x, sigmoid_of(x)); }
inline V gelu_tanh_of(V x) { return mul(x, sigmoid_of(mul(mul(x, set1(1.59576912f)), fma(mul(x, x), set1(0.044715f), set1(1))))); }

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
/// x (1 + erf(x / sqrt 2)) / 2, of the negative side by erfc, where 1 + erf cancels.
inline V gelu_of(V x) {
  const V a = min(set1(14.3f), abs(x)), s = mul(a, a), half = set1(0.5f);
  const V beyond = mul(half, erfc_of(mul(a, set1(0.707106781f)), mul(half, s), mul(half, fms(a, a, s))));
  return mul(x, if_less(x, zero(), beyond, sub(set1(1), beyond)));
}

template <V (*f)(V)>
void map(const float* x, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, f(load(x + i)));
  if (i < n) store_part(to + i, f(load_part(x + i, int(n - i))), int(n - i));
}

template <V (*f)(V, V)>
void zip(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to) {
  const V a = n && !s ? set1(*x) : zero(), b = n && !t ? set1(*y) : zero();
  std::int64_t i = 0;
  if (s && t)
    for (; i + width <= n; i += width) store(to + i, f(load(x + i), load(y + i)));
  else if (s)
    for (; i + width <= n; i += width) store(to + i, f(load(x + i), b));
  else
    for (; i + width <= n; i += width) store(to + i, f(a, t ? load(y + i) : b));
  if (i == n) return;
  const int rest = int(n - i);
  store_part(to + i, f(s ? load_part(x + i, rest) : a, t ? load_part(y + i, rest) : b), rest);
}

/// 32 sums: numbers whose places are equal mod 32. Lane l ends as the sum of the lanes l, l + 16 ..., halved again and again.
struct Sums {
  static constexpr int lanes = 32, parts = lanes / width;
  D sum[parts][2] = {};

  template <class F>  // term(D) of the doubles of x
  void add(V x, int part, F term) {
    sum[part][0] = plus(sum[part][0], term(low_half(x)));
    sum[part][1] = plus(sum[part][1], term(high_half(x)));
  }
  double total() {
    D* all = sum[0];
    for (int n = parts; n > 0; n /= 2)
      for (int i = 0; i < n; ++i) all[i] = plus(all[i], all[i + n]);
    return add_lanes(all[0]);
  }
};

/// The sum of term(x) over n numbers; the missing ones of the last vector count as nothing.
template <class Term>
inline double total_of(const float* x, std::int64_t n, Term term) {
  Sums sums;
  std::int64_t i = 0;
  for (; i + Sums::lanes <= n; i += Sums::lanes)
    for (int p = 0; p < Sums::parts; ++p) sums.add(load(x + i + p * width), p, term);
  for (int p = 0; i < n; ++p, i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const V v = load_part(x + i, rest), there = keep_part(set1(1.0f), rest);
    sums.sum[p][0] = plus(sums.sum[p][0], times(term(low_half(v)), low_half(there)));
    sums.sum[p][1] = plus(sums.sum[p][1], times(term(high_half(v)), high_half(there)));
  }
  return sums.total();
}

double sum(const float* x, std::int64_t n) {
  return total_of(x, n, [](D d) HEED_INLINE { return d; });
}
double squares(const float* x, std::int64_t n, double mean) {
  const D m = all(mean);
  return total_of(x, n, [=](D d) HEED_INLINE { return times(minus(d, m), minus(d, m)); });
}
double exp_sum(const float* x, std::int64_t n, float top, float* to) {
  const V t = set1(top);
  Sums sums;
  std::int64_t i = 0;
  const auto same = [](D d) HEED_INLINE { return d; };
  for (; i + Sums::lanes <= n; i += Sums::lanes)
    for (int p = 0; p < Sums::parts; ++p) {
      const V e = exp_of(sub(load(x + i + p * width), t));
      store(to + i + p * width, e);
      sums.add(e, p, same);
    }
  for (int p = 0; i < n; ++p, i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const V e = keep_part(exp_of(sub(load_part(x + i, rest), t)), rest);
    store_part(to + i, e, rest);
    sums.add(e, p, same);
  }
  return sums.total();
}

float largest(const float* x, std::int64_t n) {
  const V low = set1(-__builtin_inff());
  V best[4] = {low, low, low, low}, odd = zero();  // max() passes over NaN, which is looked for apart
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width)
    for (int p = 0; p < 4; ++p) {
      const V v = load(x + i + p * width);
      best[p] = max(v, best[p]);
      odd = keep_nan(v, odd);
    }
  float lanes[width], top = -__builtin_inff();
  store(lanes, max(max(best[0], best[1]), max(best[2], best[3])));
  for (const float v : lanes) top = v > top ? v : top;
  store(lanes, odd);
  float strange = 0;
  for (const float v : lanes) strange = v != v ? v : strange;
  for (; i < n; ++i) top = x[i] > top || x[i] != x[i] ? x[i] : top;
  return strange != strange ? strange : top;
}

void add_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums) {
  std::int64_t c = 0;
  for (; c + 2 * width <= n; c += 2 * width) {
    D s[4];
    for (int p = 0; p < 4; ++p) s[p] = load(sums + c + p * width / 2);
    for (std::int64_t r = 0; r < rows; ++r) {
      const V a = load(x + r * stride + c), b = load(x + r * stride + c + width);
      s[0] = plus(s[0], low_half(a)), s[1] = plus(s[1], high_half(a));
      s[2] = plus(s[2], low_half(b)), s[3] = plus(s[3], high_half(b));
    }
    for (int p = 0; p < 4; ++p) store(sums + c + p * width / 2, s[p]);
  }
  for (; c < n; ++c)
    for (std::int64_t r = 0; r < rows; ++r) sums[c] += double(x[r * stride + c]);
}

void normalise(const float* x, std::int64_t n, double mean, double factor, const float* gain, const float* offset, float* to) {
  const D m = all(mean), f = all(factor);
  for (std::int64_t i = 0; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const auto read = [&](const float* p) HEED_INLINE { return rest == width ? load(p + i) : load_part(p + i, rest); };
    const V v = read(x), g = gain ? read(gain) : zero(), o = offset ? read(offset) : zero();
    D low = times(minus(low_half(v), m), f), high = times(minus(high_half(v), m), f);
    if (gain) low = times(low, low_half(g)), high = times(high, high_half(g));
    if (offset) low = plus(low, low_half(o)), high = plus(high, high_half(o));
    const V y = join(low, high);
    if (rest == width)
      store(to + i, y);
    else
      store_part(to + i, y, rest);
  }
}

/// The first where it is beyond the second, or NaN.
inline V larger(V x, V y) { return keep_nan(x, max(x, y)); }
inline V smaller(V x, V y) { return keep_nan(x, min(x, y)); }

constexpr ElementTable make_table() {
  return {map<exp_of>, map<tanh_of>, map<sigmoid_of>, map<silu_of>, map<gelu_of>, map<gelu_tanh_of>, map<erf_of>,
          zip<add>,    zip<sub>,     zip<mul>,        zip<div>,     zip<larger>,  zip<smaller>,      sum,
          squares,     largest,      add_rows,        exp_sum,      normalise};
}
