// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h down columns, against a vector type V of `width` floats: included by elementwise_avx2.cpp and
// elementwise_avx512.cpp inside their namespaces.

constexpr int deep = 8;  ///< terms of a column before it goes on in f64

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
  constexpr int half = width / 2;
  if (rest == width) {
    store(sums, plus(load(sums), low_half(x)));
    store(sums + half, plus(load(sums + half), high_half(x)));
    return;
  }
  const int low = rest < half ? rest : half;
  store_part(sums, plus(load_part(sums, low), low_half(x)), low);
  store_part(sums + low, plus(load_part(sums + low, rest - low), high_half(x)), rest - low);
}

template <int N>
using Count = std::integral_constant<int, N>;

/// body(c, how many vectors, lanes of the last) over columns by four vectors, then by those that are left.
template <class F>
HEED_INLINE inline void groups(std::int64_t n, F body) {
  std::int64_t c = 0;
  for (; c + 4 * width <= n; c += 4 * width) body(c, Count<4>(), width);
  if (c == n) return;
  const int left = int(n - c + width - 1) / width, rest = int(n - c) - (left - 1) * width;
  if (left == 1) body(c, Count<1>(), rest);
  if (left == 2) body(c, Count<2>(), rest);
  if (left == 3) body(c, Count<3>(), rest);
  if (left == 4) body(c, Count<4>(), rest);
}
/// Vector v of the N at p, the last of `rest` lanes.
template <int N>
inline V one_of(const float* p, int v, int rest) {
  return v + 1 < N || rest == width ? load(p + v * width) : load_part(p + v * width, rest);
}

/// Rows by eights, N vectors of each, in f32; what they leave goes to the sums.
template <int N>
HEED_INLINE inline void add_group(const float* x, std::int64_t rows, std::int64_t stride, double* sums, int rest) {
  constexpr int half = width / 2;
  const auto lanes = [rest](int v, int first) HEED_INLINE {
    const int here = (v + 1 < N ? width : rest) - first;
    return here < 0 ? 0 : here < half ? here : half;
  };
  const auto each = [&](auto body) HEED_INLINE {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) body(v, h, sums + v * width + h * half, lanes(v, h * half));
  };
  D total[N][2];
  each([&](int v, int h, const double* p, int some) HEED_INLINE { total[v][h] = some == half ? load(p) : load_part(p, some); });
  const auto some = [&](std::int64_t high) HEED_INLINE {
    V sum[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) sum[v] = one_of<N>(x, v, rest);
#pragma GCC unroll 8
    for (std::int64_t r = 1; r < high; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sum[v] = add(sum[v], one_of<N>(x + r * stride, v, rest));
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) total[v][0] = plus(total[v][0], low_half(sum[v])), total[v][1] = plus(total[v][1], high_half(sum[v]));
  };
  for (; rows >= deep; rows -= deep, x += deep * stride) some(deep);
  if (rows > 0) some(rows);
  each([&](int v, int h, double* p, int here) HEED_INLINE { here == half ? store(p, total[v][h]) : store_part(p, total[v][h], here); });
}
/// Rows that are taken at once, by four vectors of each: all where they are few or narrow, else so many that each is read on and on.
inline std::int64_t rows_at_once(std::int64_t rows, std::int64_t n) { return n <= 4 * width || rows <= 64 ? rows : deep; }
void add_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double* sums) {
  const std::int64_t high = rows_at_once(rows, n);
  for (std::int64_t r = 0; r < rows; r += high)
    groups(n, [=](std::int64_t c, auto many, int rest) HEED_INLINE {
      add_group<decltype(many)::value>(x + r * stride + c, rows - r < high ? rows - r : high, stride, sums + c, rest);
    });
}

/// The sums times factor.
void sum_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, double factor, float* to) {
  constexpr int most = 256, half = width / 2;
  for (std::int64_t c = 0; c < n; c += most) {
    const std::int64_t some = n - c < most ? n - c : most;
    double sums[most];
    for (std::int64_t i = 0; i < some; i += half) store(sums + i, all(0));
    add_rows(x + c, rows, stride, some, sums);
    columns(some, [=, &sums](std::int64_t i, int rest) HEED_INLINE {
      put_some(to + c + i, join(times(load(sums + i), all(factor)), times(load(sums + i + half), all(factor))), rest);
    });
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

template <V (*best)(V, V), int N>
void extreme_group(const float* x, std::int64_t rows, std::int64_t stride, float* to, int rest) {
  V top[N];
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) top[v] = one_of<N>(to, v, rest);
  for (std::int64_t r = 0; r < rows; ++r, x += stride)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) top[v] = best(one_of<N>(x, v, rest), top[v]);
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) put_some(to + v * width, top[v], v + 1 < N ? width : rest);
}
template <V (*best)(V, V)>
void extreme_rows(const float* x, std::int64_t rows, std::int64_t stride, std::int64_t n, float* to) {
  const std::int64_t high = rows_at_once(rows, n);
  for (std::int64_t r = 0; r < rows; r += high)
    groups(n, [=](std::int64_t c, auto many, int rest) HEED_INLINE {
      extreme_group<best, decltype(many)::value>(x + r * stride + c, rows - r < high ? rows - r : high, stride, to + c, rest);
    });
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
      std::int64_t i = r;
      for (; i + 4 <= r + high; i += 4) {
        const float* from = x + i * stride + c;
        const Four e = exp_of(sub(
            together(some_of(from, rest), some_of(from + stride, rest), some_of(from + 2 * stride, rest), some_of(from + 3 * stride, rest)),
            t));
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) put_some(to + (i + k) * stride + c, e.v[k], rest), sum = add(sum, e.v[k]);
      }
      for (; i < r + high; ++i) {
        const V e = exp_of(sub(some_of(x + i * stride + c, rest), t));
        put_some(to + i * stride + c, e, rest);
        sum = add(sum, e);
      }
      add_to(sums + c, sum, rest);
    }
  });
}
