// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h over numbers that do not meet, written against a vector type V of `width` floats: included by
// elementwise_avx2.cpp and elementwise_avx512.cpp inside their namespaces.

/// to[i] = f(vector at i) for i < n; two vectors are loaded before one is stored, for lines come and go whole.
template <class F>
HEED_INLINE inline void each_vector(const float* x, std::int64_t n, float* to, F f) {
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    const V a = load(x + i), b = load(x + i + width);
    store(to + i, f(a)), store(to + i + width, f(b));
  }
  if (i + width <= n) store(to + i, f(load(x + i))), i += width;
  if (i < n) store_part(to + i, f(load_part(x + i, int(n - i))), int(n - i));
}

template <V (*f)(V)>
void map(const float* x, std::int64_t n, float* to) {
  each_vector(x, n, to, [](V v) HEED_INLINE { return f(v); });
}

/// The same of a function that takes Fours, too.
template <class F>
void map_by_four(const float* x, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) store_four(to + i, F::of(load_four(x + i)));
  for (; i + width <= n; i += width) store(to + i, F::of(load(x + i)));
  if (i < n) store_part(to + i, F::of(load_part(x + i, int(n - i))), int(n - i));
}
struct Exp {
  template <class W>
  static W of(const W& x) {
    return exp_of(x);
  }
};
struct Gelu {
  template <class W>
  static W of(const W& x) {
    return gelu_of(x);
  }
};

/// Numbers from 1e5 on, infinite or NaN go through f64 one by one.
template <int quarter>
void wave(const float* x, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const V v = rest == width ? load(x + i) : load_part(x + i, rest);
    V y = wave_of(v, quarter);
    if (some(not_less(abs(v), set1(1e5f)))) {
      float in[width], out[width];
      store(in, v), store(out, y);
      for (int l = 0; l < width; ++l)
        if (!(__builtin_fabsf(in[l]) < 1e5f)) out[l] = float(quarter ? __builtin_cos(double(in[l])) : __builtin_sin(double(in[l])));
      y = load(out);
    }
    rest == width ? store(to + i, y) : store_part(to + i, y, rest);
  }
}

template <V (*f)(V, V)>
void curve(const float* x, std::int64_t n, float a, float, float* to) {
  each_vector(x, n, to, [by = set1(a)](V v) HEED_INLINE { return f(v, by); });
}
void clamp(const float* x, std::int64_t n, float a, float b, float* to) {
  each_vector(x, n, to, [low = set1(a), high = set1(b)](V v) HEED_INLINE { return min(high, max(low, v)); });
}
/// Numbers that are not positive, denormal, infinite or NaN go through the library's f64 one by one.
void power(const float* x, std::int64_t n, float a, float, float* to) {
  const float infinite = __builtin_inff();
  for (std::int64_t i = 0; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const V v = rest == width ? load(x + i) : if_less(keep_part(set1(1), rest), set1(1), set1(1), load_part(x + i, rest));
    const M strange = either(less_than(v, set1(0x1p-126f)), not_less(v, set1(infinite)));
    const V safe = choice(strange, set1(1), v);
    V y = join(power_of(low_half(safe), a), power_of(high_half(safe), a));
    if (some(strange)) {
      float in[width], out[width];
      store(in, v), store(out, y);
      for (int l = 0; l < width; ++l)
        if (!(in[l] >= 0x1p-126f && in[l] < infinite)) out[l] = float(__builtin_pow(double(in[l]), double(a)));
      y = load(out);
    }
    rest == width ? store(to + i, y) : store_part(to + i, y, rest);
  }
}

/// body(i, lanes, the vectors of x and y at i) over rows that walk by s and t, 0 or 1; two vectors of each are loaded at once.
template <class F>
inline void pairs(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, F body) {
  if (n == 0) return;
  const V a = set1(*x), b = set1(*y);
  std::int64_t i = 0;
  const auto run = [&](auto first, auto second) HEED_INLINE {
    for (; i + 2 * width <= n; i += 2 * width) {
      const V p = first(i), q = first(i + width), u = second(i), v = second(i + width);
      body(i, width, p, u), body(i + width, width, q, v);
    }
    if (i + width <= n) body(i, width, first(i), second(i)), i += width;
  };
  const auto of_x = [x](std::int64_t at) HEED_INLINE { return load(x + at); };
  const auto of_y = [y](std::int64_t at) HEED_INLINE { return load(y + at); };
  const auto all_a = [a](std::int64_t) HEED_INLINE { return a; };
  const auto all_b = [b](std::int64_t) HEED_INLINE { return b; };
  if (s && t)
    run(of_x, of_y);
  else if (s)
    run(of_x, all_b);
  else if (t)
    run(all_a, of_y);
  else
    run(all_a, all_b);
  if (i == n) return;
  const int rest = int(n - i);
  body(i, rest, s ? load_part(x + i, rest) : a, t ? load_part(y + i, rest) : b);
}

template <V (*f)(V, V)>
void zip(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to) {
  pairs(x, s, y, t, n, [to](std::int64_t i, int rest, V a, V b) HEED_INLINE {
    if (rest == width)
      store(to + i, f(a, b));
    else
      store_part(to + i, f(a, b), rest);
  });
}

template <M (*f)(V, V)>
void compare(const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, std::uint8_t* to) {
  pairs(x, s, y, t, n, [to](std::int64_t i, int rest, V a, V b) HEED_INLINE {
    if (rest == width) return store_mask(to + i, f(a, b));
    std::uint8_t bytes[width];
    store_mask(bytes, f(a, b));
    for (int l = 0; l < rest; ++l) to[i + l] = bytes[l];
  });
}

void choose(const std::uint8_t* keep, const float* x, std::int64_t s, const float* y, std::int64_t t, std::int64_t n, float* to) {
  pairs(x, s, y, t, n, [=](std::int64_t i, int rest, V a, V b) HEED_INLINE {
    if (rest == width) return store(to + i, choice(load_mask(keep + i), a, b));
    std::uint8_t bytes[width] = {};
    for (int l = 0; l < rest; ++l) bytes[l] = keep[i + l];
    store_part(to + i, choice(load_mask(bytes), a, b), rest);
  });
}

/// The first where it is beyond the second, or NaN.
inline V larger(V x, V y) { return keep_nan(x, max(x, y)); }
inline V smaller(V x, V y) { return keep_nan(x, min(x, y)); }
