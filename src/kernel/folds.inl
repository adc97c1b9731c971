// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h along rows and down columns, against a vector type V of `width` floats: included by elementwise_avx2.cpp
// and elementwise_avx512.cpp inside their namespaces.

constexpr int sum_lanes = 64, parts = sum_lanes / width, deep = 8;  ///< terms of a lane before it goes on in f64

/// The sum of the lanes of `parts` vectors in f64, in the same order on every instruction set.
inline double total_of(const V* sum) {
  float lane[sum_lanes];
  for (int p = 0; p < parts; ++p) store(lane + p * width, sum[p]);
  double eight[8] = {};
  for (int g = 0; g < sum_lanes; g += 8)
#pragma GCC unroll 8
    for (int l = 0; l < 8; ++l) eight[l] += double(lane[g + l]);
  return ((eight[0] + eight[4]) + (eight[2] + eight[6])) + ((eight[1] + eight[5]) + (eight[3] + eight[7]));
}

/// The sum over n numbers of term(place, lanes there), a vector whose missing lanes are 0.
template <class F>
inline double total_over(std::int64_t n, F term) {
  double total = 0;
  std::int64_t i = 0;
  while (n - i >= sum_lanes) {
    V sum[parts];
#pragma GCC unroll 8
    for (int p = 0; p < parts; ++p) sum[p] = term(i + p * width, width);
    i += sum_lanes;
    for (int d = 1; d < deep && n - i >= sum_lanes; ++d, i += sum_lanes)
#pragma GCC unroll 8
      for (int p = 0; p < parts; ++p) sum[p] = add(sum[p], term(i + p * width, width));
    total += total_of(sum);
  }
  if (i == n) return total;
  V sum[parts];
#pragma GCC unroll 8
  for (int p = 0; p < parts; ++p, i += width) sum[p] = i < n ? term(i, n - i < width ? int(n - i) : width) : zero();
  return total + total_of(sum);
}

double sum(const float* x, std::int64_t n) {
  return total_over(n, [x](std::int64_t i, int rest) HEED_INLINE { return rest == width ? load(x + i) : load_part(x + i, rest); });
}
/// A number in f64 as two in f32, so that x - number keeps its digits where x is near.
struct Two {
  V high, low;
  explicit Two(double x) : high(set1(float(x))), low(set1(float(x - double(float(x))))) {}
  V from(V x) const { return sub(sub(x, high), low); }
};

double squares(const float* x, std::int64_t n, double mean) {
  return total_over(n, [x, m = Two(mean)](std::int64_t i, int rest) HEED_INLINE {
    const V off = rest == width ? m.from(load(x + i)) : keep_part(m.from(load_part(x + i, rest)), rest);
    return mul(off, off);
  });
}
double exp_sum(const float* x, std::int64_t n, float top, float* to) {
  return total_over(n, [x, to, t = set1(top)](std::int64_t i, int rest) HEED_INLINE {
    if (rest == width) {
      const V e = exp_of(sub(load(x + i), t));
      store(to + i, e);
      return e;
    }
    const V e = keep_part(exp_of(sub(load_part(x + i, rest), t)), rest);
    store_part(to + i, e, rest);
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

/// body(c, lanes) over columns; the last may be part of a vector.
template <class F>
inline void columns(std::int64_t n, F body) {
  for (std::int64_t c = 0; c < n; c += width) body(c, n - c < width ? int(n - c) : width);
}
inline V some_of(const float* p, int rest) { return rest == width ? load(p) : load_part(p, rest); }
inline void put_some(float* p, V x, int rest) {
  if (rest == width)
    store(p, x);
  else
    store_part(p, x, rest);
}
/// sums[0, rest) += x.
inline void add_to(double* sums, V x, int rest) {
  if (rest == width) {
    store(sums, plus(load(sums), low_half(x)));
    store(sums + width / 2, plus(load(sums + width / 2), high_half(x)));
    return;
  }
  float lane[width];
  store(lane, x);
  for (int l = 0; l < rest; ++l) sums[l] += double(lane[l]);
}

/// Four columns of vectors abreast, `deep` rows of them in f32.
void add_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums) {
  for (std::int64_t r = 0; r < rows; r += deep) {
    const std::int64_t high = rows - r < deep ? rows - r : deep;
    const float* first = x + r * stride;
    std::int64_t c = 0;
    for (; c + 4 * width <= n; c += 4 * width) {
      V sum[4];
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) sum[p] = load(first + c + p * width);
      for (std::int64_t i = 1; i < high; ++i)
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) sum[p] = add(sum[p], load(first + i * stride + c + p * width));
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) add_to(sums + c + p * width, sum[p], width);
    }
    for (; c < n; c += width) {
      const int rest = n - c < width ? int(n - c) : width;
      V sum = some_of(first + c, rest);
      for (std::int64_t i = 1; i < high; ++i) sum = add(sum, some_of(first + i * stride + c, rest));
      add_to(sums + c, sum, rest);
    }
  }
}

void run_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums, float* to) {
  std::int64_t c = 0;
  for (; c + width <= n; c += width) {
    D low = load(sums + c), high = load(sums + c + width / 2);
    for (std::int64_t r = 0; r < rows; ++r) {
      const V v = load(x + r * stride + c);
      low = plus(low, low_half(v)), high = plus(high, high_half(v));
      store(to + r * stride + c, join(low, high));
    }
    store(sums + c, low), store(sums + c + width / 2, high);
  }
  for (; c < n; ++c)
    for (std::int64_t r = 0; r < rows; ++r) to[r * stride + c] = float(sums[c] += double(x[r * stride + c]));
}

template <V (*best)(V, V)>
void extreme_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, float* to) {
  std::int64_t c = 0;
  for (; c + 4 * width <= n; c += 4 * width) {
    V top[4];
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) top[p] = load(to + c + p * width);
    for (std::int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) top[p] = best(load(x + r * stride + c + p * width), top[p]);
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) store(to + c + p * width, top[p]);
  }
  for (; c < n; c += width) {
    const int rest = n - c < width ? int(n - c) : width;
    V top = some_of(to + c, rest);
    for (std::int64_t r = 0; r < rows; ++r) top = best(some_of(x + r * stride + c, rest), top);
    put_some(to + c, top, rest);
  }
}

/// From the last row to the first, places counted in floats.
void find_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, const float* value, std::int64_t* to) {
  columns(n, [=](std::int64_t c, int rest) HEED_INLINE {
    const V v = some_of(value + c, rest);
    V place = zero();
    for (std::int64_t r = rows - 1; r >= 0; --r) {
      const V a = some_of(x + r * stride + c, rest);
      place = choice(either(equal_to(a, v), unordered(a, a)), set1(float(r)), place);
    }
    float lane[width];
    store(lane, place);
    for (int l = 0; l < rest; ++l) to[c + l] = std::int64_t(lane[l]);
  });
}

void exp_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, const float* top, double* sums, float* to) {
  columns(n, [=](std::int64_t c, int rest) HEED_INLINE {
    const V t = some_of(top + c, rest);
    for (std::int64_t r = 0; r < rows; r += deep) {
      const std::int64_t high = rows - r < deep ? rows - r : deep;
      V sum = zero();
      for (std::int64_t i = r; i < r + high; ++i) {
        const V e = exp_of(sub(some_of(x + i * stride + c, rest), t));
        put_some(to + i * stride + c, e, rest);
        sum = add(sum, e);
      }
      add_to(sums + c, sum, rest);
    }
  });
}

/// out[to[r]] = f(out[to[r]], x[from[r]], weight[r]). Rows that go to one place follow each other in registers.
template <V (*f)(V, V, V), float (*one)(float, float, float)>
void reduce_at(const float* x, const std::int64_t* from, const float* weight, std::int64_t rows, std::int64_t stride, std::int64_t n,
               const std::int64_t* to, float* out) {
  if (n == 1 && stride == 1 && !from && !weight) {
    for (std::int64_t r = 0; r < rows; ++r) out[to[r]] = one(out[to[r]], x[r], 1);
    return;
  }
  const auto row = [=](std::int64_t r) HEED_INLINE { return x + (from ? from[r] : r) * stride; };
  for (std::int64_t r = 0, last; r < rows; r = last) {
    for (last = r + 1; last < rows && to[last] == to[r];) ++last;
    float* at = out + to[r] * stride;
    std::int64_t c = 0;
    for (; c + 4 * width <= n; c += 4 * width) {
      V sum[4];
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) sum[p] = load(at + c + p * width);
      for (std::int64_t i = r; i < last; ++i) {
        const float* of = row(i) + c;
        const V w = set1(weight ? weight[i] : 1);
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) sum[p] = f(sum[p], load(of + p * width), w);
      }
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) store(at + c + p * width, sum[p]);
    }
    for (; c < n; c += width) {
      const int rest = n - c < width ? int(n - c) : width;
      V sum = some_of(at + c, rest);
      for (std::int64_t i = r; i < last; ++i) sum = f(sum, some_of(row(i) + c, rest), set1(weight ? weight[i] : 1));
      put_some(at + c, sum, rest);
    }
  }
}
inline V plus_times(V a, V b, V w) { return fma(b, w, a); }
inline float plus_times(float a, float b, float w) { return __builtin_fmaf(b, w, a); }
inline V larger_of(V a, V b, V) { return larger(b, a); }
inline float larger_of(float a, float b, float) { return (a > b) | (a != a) ? a : b; }

template <V (*f)(V, V), float (*one)(float, float)>
void with_at(const float* x, const float* y, const std::int64_t* place, std::int64_t rows, std::int64_t n, float* out) {
  if (n == 1) {
    for (std::int64_t r = 0; r < rows; ++r) out[r] = one(x[r], y[place[r]]);
    return;
  }
  for (std::int64_t r = 0; r < rows; ++r, x += n, out += n) {
    const float* row = y + place[r] * n;
    std::int64_t c = 0;
    for (; c + width <= n; c += width) store(out + c, f(load(x + c), load(row + c)));
    if (c < n) store_part(out + c, f(load_part(x + c, int(n - c)), load_part(row + c, int(n - c))), int(n - c));
  }
}
inline float sub(float a, float b) { return a - b; }
inline float mul(float a, float b) { return a * b; }

bool below(const std::int64_t* x, std::int64_t n, std::int64_t limit) {
  typedef std::uint64_t U __attribute__((vector_size(width * 4)));
  constexpr int lanes = width / 2;
  const std::uint64_t most = std::uint64_t(limit) - 1;
  U all = {};  // the highest bit is set once a number or its distance to the limit is negative
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    U v;
    __builtin_memcpy(&v, x + i, sizeof v);
    all |= v | (most - v);
  }
  std::uint64_t bad = 0;
  for (int l = 0; l < lanes; ++l) bad |= all[l];
  for (; i < n; ++i) bad |= std::uint64_t(x[i]) | (most - std::uint64_t(x[i]));
  return !(bad >> 63);
}

constexpr ElementTable make_table() {
  return {map<exp_of>,
          map<tanh_of>,
          map<sigmoid_of>,
          map<silu_of>,
          map<gelu_of>,
          map<gelu_tanh_of>,
          map<erf_of>,
          map<log_of>,
          map<log1p_of>,
          map<softplus_of>,
          wave<0>,
          wave<1>,
          map<sqrt_of>,
          map<rsqrt_of>,
          map<abs_of>,
          map<sign_of>,
          curve<leaky_of>,
          curve<elu_of>,
          clamp,
          power,
          zip<add>,
          zip<sub>,
          zip<mul>,
          zip<div>,
          zip<larger>,
          zip<smaller>,
          compare<less_than>,
          compare<equal_to>,
          choose,
          sum,
          squares,
          largest,
          smallest,
          find,
          exp_sum,
          normalise,
          add_rows,
          run_rows,
          extreme_rows<larger>,
          extreme_rows<smaller>,
          find_rows,
          exp_rows,
          reduce_at<plus_times, plus_times>,
          reduce_at<larger_of, larger_of>,
          with_at<sub, sub>,
          with_at<mul, mul>,
          below};
}
