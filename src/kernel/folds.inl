// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h along rows, against a vector type V of `width` floats: included by elementwise_avx2.cpp
// and elementwise_avx512.cpp inside their namespaces.

constexpr int block = 64, fours = block / (4 * width);  ///< numbers that a sum takes at once

/// The sum over n numbers of x of term(them, their place, how many), V or Four. Eight terms are added in f32, then go on in f64: 64 numbers
/// leave eight lanes, in the same order on every instruction set.
template <class F>
HEED_INLINE inline double total_over(const float* x, std::int64_t n, F term) {
  Eight total = eight_zeros();
  std::int64_t i = 0;
  for (; i + block <= n; i += block) {
    Four sum[fours];
#pragma GCC unroll 2
    for (int p = 0; p < fours; ++p) sum[p] = term(load_four(x + i + p * 4 * width), i + p * 4 * width, width);
    total = plus(total, eight_of(sum));
  }
  if (i == n) return total_of(total);
  Four sum[fours];
#pragma GCC unroll 8
  for (int p = 0; p < 4 * fours; ++p, i += width) {
    V& part = sum[p / 4].v[p % 4];
    if (i + width <= n)
      part = term(load(x + i), i, width);
    else
      part = i < n ? keep_part(term(load_part(x + i, int(n - i)), i, int(n - i)), int(n - i)) : zero();
  }
  return total_of(plus(total, eight_of(sum)));
}

double sum(const float* x, std::int64_t n) {
  return total_over(x, n, [](const auto& v, std::int64_t, int) HEED_INLINE { return v; });
}
void sums(const float* x, std::int64_t rows, std::int64_t n, double* to) {
  for (std::int64_t r = 0; r < rows; ++r) to[r] = total_over(x + r * n, n, [](const auto& v, std::int64_t, int) HEED_INLINE { return v; });
}

/// A number in f64 as two in f32, so that x - number keeps its digits where x is near.
struct Two {
  V high, low;
  explicit Two(double x) : high(set1(float(x))), low(set1(float(x - double(float(x))))) {}
  template <class W>
  W from(const W& x) const {
    return sub(sub(x, high), low);
  }
};
double squares(const float* x, std::int64_t n, double mean) {
  return total_over(x, n, [m = Two(mean)](const auto& v, std::int64_t, int) HEED_INLINE {
    const auto off = m.from(v);
    return mul(off, off);
  });
}

inline void put(float* to, const Four& x, int) { store_four(to, x); }
inline void put(float* to, V x, int lanes) { lanes == width ? store(to, x) : store_part(to, x, lanes); }
double exp_sum(const float* x, std::int64_t n, float top, float* to) {
  return total_over(x, n, [to, t = set1(top)](const auto& v, std::int64_t i, int lanes) HEED_INLINE {
    const auto e = exp_of(sub(v, t));
    put(to + i, e, lanes);
    return e;
  });
}

/// The best of n numbers by best(V, V), which passes over NaN, and most(V) of its lanes; NaN is looked for apart.
template <V (*best)(V, V), float (*most)(V)>
float extreme(const float* x, std::int64_t n, float none) {
  V top[4] = {set1(none), set1(none), set1(none), set1(none)};
  M odd = unordered(zero(), zero());
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    const V a = load(x + i), b = load(x + i + width), c = load(x + i + 2 * width), d = load(x + i + 3 * width);
    odd = either(odd, either(unordered(a, b), unordered(c, d)));
    top[0] = best(a, top[0]), top[1] = best(b, top[1]), top[2] = best(c, top[2]), top[3] = best(d, top[3]);
  }
  for (; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const V a = rest == width ? load(x + i) : if_less(keep_part(set1(1), rest), set1(1), set1(none), load_part(x + i, rest));
    odd = either(odd, unordered(a, a));
    top[0] = best(a, top[0]);
  }
  return some(odd) ? __builtin_nanf("") : most(best(best(top[0], top[1]), best(top[2], top[3])));
}
float largest(const float* x, std::int64_t n) { return extreme<max, most>(x, n, -__builtin_inff()); }
float smallest(const float* x, std::int64_t n) { return extreme<min, least>(x, n, __builtin_inff()); }

/// body(rows, first of x, first of to) for some rows at once, whose chains run side by side and whose last words are taken together.
template <class F>
HEED_INLINE inline void some_rows(const float* x, std::int64_t rows, std::int64_t n, float* to, F body) {
  for (std::int64_t some = n > 256 ? 1 : 16; rows > 0; rows -= some, x += some * n, to += some * n) {
    if (some > rows) some = rows;
    body(some, x, to);
  }
}
void softmax(const float* x, std::int64_t rows, std::int64_t n, float* to) {
  some_rows(x, rows, n, to, [n](std::int64_t some, const float* from, float* out) HEED_INLINE {
    float top[16], factor[16];
    for (std::int64_t r = 0; r < some; ++r) top[r] = largest(from + r * n, n);
    for (std::int64_t r = 0; r < some; ++r) factor[r] = float(1 / exp_sum(from + r * n, n, top[r], out + r * n));
    for (std::int64_t r = 0; r < some; ++r) {
      const bool none = top[r] == -__builtin_inff();
      each_vector(out + r * n, n, out + r * n, [none, f = set1(factor[r])](V e) HEED_INLINE { return none ? zero() : mul(e, f); });
    }
  });
}
void log_softmax(const float* x, std::int64_t rows, std::int64_t n, float* to) {
  some_rows(x, rows, n, to, [n](std::int64_t some, const float* from, float* out) HEED_INLINE {
    float top[16], log[16] = {};
    for (std::int64_t r = 0; r < some; ++r) top[r] = largest(from + r * n, n);
    for (std::int64_t r = 0; r < some; ++r) {
      const auto power = [t = set1(top[r])](const auto& v, std::int64_t, int) HEED_INLINE { return exp_of(sub(v, t)); };
      if (!__builtin_isinf(top[r])) log[r] = float(total_over(from + r * n, n, power) - 1);
    }
    for (int l = 0; l < some; l += width) store(log + l, log1p_of(load(log + l)));
    for (std::int64_t r = 0; r < some; ++r) {
      const bool none = top[r] == -__builtin_inff();
      const V t = set1(none ? 0 : top[r]), l = set1(log[r]);
      each_vector(from + r * n, n, out + r * n, [t, l](V v) HEED_INLINE { return sub(sub(v, t), l); });
    }
  });
}

std::int64_t find(const float* x, std::int64_t n, float value) {
  const V v = set1(value);
  const bool odd = value != value;
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const V a = load(x + i);
    if (some(odd ? unordered(a, a) : equal_to(a, v))) break;
  }
  while (i < n && !(odd ? x[i] != x[i] : x[i] == value)) ++i;
  return i;
}

/// Whole vectors of y = (x - mean) * factor * gain + offset.
template <bool gained, bool moved>
inline void normal_row(const float* x, std::int64_t n, Two m, V f, const float* gain, const float* offset, float* to) {
  const auto of = [=](V v, V g, V o) HEED_INLINE {
    v = mul(m.from(v), f);
    return gained && moved ? fma(v, g, o) : gained ? mul(v, g) : moved ? add(v, o) : v;
  };
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, of(load(x + i), gained ? load(gain + i) : zero(), moved ? load(offset + i) : zero()));
  if (i == n) return;
  const int rest = int(n - i);
  store_part(to + i, of(load_part(x + i, rest), gained ? load_part(gain + i, rest) : zero(), moved ? load_part(offset + i, rest) : zero()),
             rest);
}
void normalise(const float* x, std::int64_t n, double mean, float factor, const float* gain, const float* offset, float* to) {
  const Two m(mean);
  const V f = set1(factor);
  if (gain && offset) return normal_row<true, true>(x, n, m, f, gain, offset, to);
  if (gain) return normal_row<true, false>(x, n, m, f, gain, offset, to);
  if (offset) return normal_row<false, true>(x, n, m, f, gain, offset, to);
  normal_row<false, false>(x, n, m, f, gain, offset, to);
}
