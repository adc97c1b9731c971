// SPDX-License-Identifier: Apache-2.0
// The loops of fourier.h over the vector operations of the including file. No includes here: this is inside a namespace.

constexpr int number = 2 * fourier_lanes;

struct C {
  V re, im;
};
inline C get(const float* x) { return {load(x), load(x + fourier_lanes)}; }
inline void put(float* x, C c) { store(x, c.re), store(x + fourier_lanes, c.im); }
inline C add(C a, C b) { return {add(a.re, b.re), add(a.im, b.im)}; }
inline C sub(C a, C b) { return {sub(a.re, b.re), sub(a.im, b.im)}; }
inline C mul(C a, V re, V im) { return {fms(a.re, re, mul(a.im, im)), fma(a.re, im, mul(a.im, re))}; }
inline C mul(C a, const float* pair) { return mul(a, set1(pair[0]), set1(pair[1])); }
/// i a times a sign.
inline C quarter(C a, V sign) { return {mul(sub(zero(), sign), a.im), mul(sign, a.re)}; }

/// body(vectors of lanes from v on) for the numbers of a row of s.
template <class F>
inline void each(std::int64_t s, F body) {
  for (std::int64_t k = 0; k < s * number; k += number)
#pragma GCC unroll 2
    for (int v = 0; v < fourier_lanes; v += width) body(k + v);
}

void pass_two(std::int64_t m, std::int64_t s, const float* turns, const float* x, float* y) {
  const std::int64_t row = s * number;
  for (std::int64_t q = 0; q < m; ++q) {
    const V re = set1(turns[2 * q]), im = set1(turns[2 * q + 1]);
    const float *a = x + q * row, *b = x + (m + q) * row;
    float *first = y + 2 * q * row, *second = first + row;
    each(s, [=](std::int64_t k) HEED_INLINE {
      const C p = get(a + k), o = get(b + k);
      put(first + k, add(p, o));
      put(second + k, mul(sub(p, o), re, im));
    });
  }
}

void pass_four(std::int64_t m, std::int64_t s, const float* turns, const float* roots, const float* x, float* y) {
  const std::int64_t row = s * number;
  const V sign = set1(roots[3]);  // of the root's imaginary part
  for (std::int64_t q = 0; q < m; ++q) {
    const float *w = turns + 6 * q, *from = x + q * row;
    const V r1 = set1(w[0]), i1 = set1(w[1]), r2 = set1(w[2]), i2 = set1(w[3]), r3 = set1(w[4]), i3 = set1(w[5]);
    float* to = y + 4 * q * row;
    each(s, [=](std::int64_t k) HEED_INLINE {
      const C a = get(from + k), b = get(from + m * row + k), c = get(from + 2 * m * row + k), d = get(from + 3 * m * row + k);
      const C p = add(a, c), t = sub(a, c), o = add(b, d), u = quarter(sub(b, d), sign);
      put(to + k, add(p, o));
      put(to + row + k, mul(add(t, u), r1, i1));
      put(to + 2 * row + k, mul(sub(p, o), r2, i2));
      put(to + 3 * row + k, mul(sub(t, u), r3, i3));
    });
  }
}

/// By sums and differences of the numbers i and p - i, whose roots are conjugates.
void pass_odd(std::int64_t p, std::int64_t m, std::int64_t s, const float* turns, const float* roots, const float* x, float* y) {
  const std::int64_t row = s * number, half = p / 2;
  for (std::int64_t q = 0; q < m; ++q) {
    const float *w = turns + 2 * (p - 1) * q, *from = x + q * row;
    float* to = y + p * q * row;
    each(s, [=](std::int64_t k) HEED_INLINE {
      C plus[most_radix / 2], minus[most_radix / 2];
      const C first = get(from + k);
      C all = first;
      for (std::int64_t i = 0; i < half; ++i) {
        const C a = get(from + (i + 1) * m * row + k), b = get(from + (p - 1 - i) * m * row + k);
        plus[i] = add(a, b), minus[i] = sub(a, b);
        all = add(all, plus[i]);
      }
      put(to + k, all);
      for (std::int64_t j = 1; j <= half; ++j) {
        C even = first, odd = {zero(), zero()};  // odd: to be turned by a quarter
        std::int64_t at = 0;
        for (std::int64_t i = 0; i < half; ++i) {
          at = at + j < p ? at + j : at + j - p;
          const V cosine = set1(roots[2 * at]), sine = set1(roots[2 * at + 1]);
          even = {fma(cosine, plus[i].re, even.re), fma(cosine, plus[i].im, even.im)};
          odd = {fma(sine, minus[i].re, odd.re), fma(sine, minus[i].im, odd.im)};
        }
        const C turned = {sub(zero(), odd.im), odd.re};
        put(to + j * row + k, mul(add(even, turned), w + 2 * (j - 1)));
        put(to + (p - j) * row + k, mul(sub(even, turned), w + 2 * (p - j - 1)));
      }
    });
  }
}

void pass(std::int64_t p, std::int64_t m, std::int64_t s, const float* turns, const float* roots, const float* x, float* y) {
  if (p == 2) return pass_two(m, s, turns, x, y);
  if (p == 4) return pass_four(m, s, turns, roots, x, y);
  pass_odd(p, m, s, turns, roots, x, y);
}

void turn(float* x, std::int64_t n, const float* factors, bool flipped) {
  const V sign = set1(flipped ? -1.0f : 1.0f);
  for (std::int64_t e = 0; e < n; ++e)
    each(1, [=](std::int64_t k) HEED_INLINE {
      const C c = mul(get(x + e * number + k), factors + 2 * e);
      put(x + e * number + k, {c.re, mul(sign, c.im)});
    });
}

void part(const float* z, std::int64_t m, const float* turns, float* x) {
  const V half = set1(0.5f);
  for (std::int64_t e = 0; e <= m; ++e)
    each(1, [=](std::int64_t k) HEED_INLINE {
      const C a = get(z + e % m * number + k), b = get(z + (m - e) % m * number + k);
      const C even = {mul(half, add(a.re, b.re)), mul(half, sub(a.im, b.im))},
              odd = {mul(half, add(a.im, b.im)), mul(half, sub(b.re, a.re))};
      put(x + e * number + k, add(even, mul(odd, turns + 2 * e)));
    });
}

void join(const float* x, std::int64_t m, const float* turns, float* z) {
  const V half = set1(0.5f);
  for (std::int64_t e = 0; e < m; ++e)
    each(1, [=](std::int64_t k) HEED_INLINE {
      C a = get(x + e * number + k), b = get(x + (m - e) * number + k);
      if (e == 0) a.im = b.im = zero();
      const C even = {mul(half, add(a.re, b.re)), mul(half, sub(a.im, b.im))},
              rest = {mul(half, sub(a.re, b.re)), mul(half, add(a.im, b.im))};
      const C odd = mul(rest, set1(turns[2 * e]), set1(-turns[2 * e + 1]));
      put(z + e * number + k, {sub(even.re, odd.im), add(even.im, odd.re)});
    });
}
