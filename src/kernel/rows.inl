// SPDX-License-Identifier: Apache-2.0
// The loops of kernel::RowTable in g++'s vector types; the including file sets `width` and half(). No includes here: this is
// inside a namespace. Sums run over four vectors of lanes, in an order that depends on n alone.

typedef float V __attribute__((vector_size(width * 4)));
typedef std::int32_t I __attribute__((vector_size(width * 4)));
typedef std::uint32_t U __attribute__((vector_size(width * 4)));
typedef std::uint16_t S __attribute__((vector_size(width * 2)));

inline V load(const float* p) {
  V x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, V x) { __builtin_memcpy(p, &x, sizeof x); }
inline V set1(float x) { return x - V{}; }
/// The first n < width numbers, then `rest`.
inline V load_some(const float* p, std::int64_t n, float rest) {
  V x = set1(rest);
  __builtin_memcpy(&x, p, std::size_t(n) * sizeof(float));
  return x;
}
inline void store_some(float* p, V x, std::int64_t n) { __builtin_memcpy(p, &x, std::size_t(n) * sizeof(float)); }
inline float total(V x) {
  float sum = 0;
  for (int i = 0; i < width; ++i) sum += x[i];
  return sum;
}

/// e^x, relative error about 1e-7; 0 below -87, infinity above 88.8; NaN stays.
inline V exp(V x) {
  x = x > 89.0f ? set1(89.0f) : x;
  const V magic = set1(0x1.8p23f), t = x * 1.44269504f + magic, n = t - magic;
  const V r = x - n * 0.693359375f - n * -2.12194440e-4f;
  V p = set1(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const I bits = ((I)t - 0x4B400000 + 127) << 23;
  const V y = p * (V)bits;
  return x < -87.0f ? V{} : x > 88.0f ? p * (V)(((I)t - 0x4B400000 + 126) << 23) * 2.0f : y;
}

template <class F>
inline void each(std::int64_t n, F&& f) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width)
    f(
        i, [](const float* p) { return load(p); }, [](float* p, V x) { store(p, x); });
  if (i < n)
    f(
        i, [&](const float* p) { return load_some(p, n - i, 0); }, [&](float* p, V x) { store_some(p, x, n - i); });
}

void rms_norm(const float* x, const float* weight, float epsilon, std::int64_t n, float* y) {
  V sums[4] = {};
  int turn = 0;
  each(n, [&](std::int64_t i, auto get, auto) {
    const V v = get(x + i);
    sums[turn++ & 3] += v * v;
  });
  const float factor = 1.0f / __builtin_sqrtf(total((sums[0] + sums[1]) + (sums[2] + sums[3])) / float(n) + epsilon);
  each(n, [&](std::int64_t i, auto get, auto put) { put(y + i, get(x + i) * factor * get(weight + i)); });
}

void add(float* x, const float* y, std::int64_t n) {
  each(n, [&](std::int64_t i, auto get, auto put) { put(x + i, get(x + i) + get(y + i)); });
}

void silu_mul(float* gate, const float* up, std::int64_t n) {
  each(n, [&](std::int64_t i, auto get, auto put) {
    const V g = get(gate + i);
    put(gate + i, g / (exp(-g) + 1.0f) * get(up + i));
  });
}

void rotate(float* x, const float* cos, const float* sin, std::int64_t half) {
  each(half, [&](std::int64_t i, auto get, auto put) {
    const V a = get(x + i), b = get(x + half + i), c = get(cos + i), s = get(sin + i);
    put(x + i, a * c - b * s);
    put(x + half + i, b * c + a * s);
  });
}

void blend(float* a, float wa, const float* b, float wb, std::int64_t n) {
  each(n, [&](std::int64_t i, auto get, auto put) { put(a + i, get(a + i) * wa + get(b + i) * wb); });
}

float log_sum_exp(const float* x, std::int64_t n) {
  V most = set1(-__builtin_inff());
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const V v = load(x + i);
    most = v > most ? v : most;
  }
  float top = -__builtin_inff();
  for (int j = 0; j < width; ++j) top = most[j] > top ? most[j] : top;
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  V sums[4] = {};
  int turn = 0;
  for (i = 0; i + width <= n; i += width) sums[turn++ & 3] += exp(load(x + i) - top);
  if (i < n) sums[turn & 3] += exp(load_some(x + i, n - i, top - 1000.0f) - top);
  return top + __builtin_logf(total((sums[0] + sums[1]) + (sums[2] + sums[3])));
}

void to_f16(const float* x, std::int64_t n, std::uint16_t* y) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const S h = half(load(x + i));
    __builtin_memcpy(y + i, &h, sizeof h);
  }
  if (i == n) return;
  const S h = half(load_some(x + i, n - i, 0));
  __builtin_memcpy(y + i, &h, std::size_t(n - i) * 2);
}

void to_bf16(const float* x, std::int64_t n, std::uint16_t* y) {
  const auto round = [](V v) {
    const U bits = (U)v;
    const U up = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, quiet = (bits >> 16) | 0x40u;
    return __builtin_convertvector((bits & 0x7fffffffu) > 0x7f800000u ? quiet : up, S);
  };
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    const S h = round(load(x + i));
    __builtin_memcpy(y + i, &h, sizeof h);
  }
  if (i == n) return;
  const S h = round(load_some(x + i, n - i, 0));
  __builtin_memcpy(y + i, &h, std::size_t(n - i) * 2);
}
