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
