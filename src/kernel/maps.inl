// SPDX-License-Identifier: Apache-2.0
// The loops of maps.h over the vector operations of the including file. No includes here: this is inside a namespace.

/// N vectors of outputs. Not inlined: the sums must stay in registers.
template <int N>
__attribute__((noinline)) void taps_of(const float* x, const std::int64_t* offset, const float* weight, std::int64_t count, float start, float* out) {
  V sum[N];
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) sum[v] = set1(start);
  for (std::int64_t t = 0; t < count; ++t) {
    const V w = set1(weight[t]);
    const float* from = x + offset[t];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[v] = fma(w, load(from + v * width), sum[v]);
  }
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) store(out + v * width, sum[v]);
}

void taps(const float* x, const std::int64_t* offset, const float* weight, std::int64_t count, float start, float* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) taps_of<4>(x + i, offset, weight, count, start, out + i);
  if (i + 2 * width <= n) taps_of<2>(x + i, offset, weight, count, start, out + i), i += 2 * width;
  for (; i < n; i += width) {  // two chains, as one alone waits for itself
    const int rest = n - i < width ? int(n - i) : width;
    V even = set1(start), odd = zero();
    std::int64_t t = 0;
    for (; t + 2 <= count; t += 2) {
      even = fma(set1(weight[t]), load_part(x + offset[t] + i, rest), even);
      odd = fma(set1(weight[t + 1]), load_part(x + offset[t + 1] + i, rest), odd);
    }
    if (t < count) even = fma(set1(weight[t]), load_part(x + offset[t] + i, rest), even);
    store_part(out + i, plus(even, odd), rest);
  }
}

void dots(const float* g, const float* x, const std::int64_t* offset, std::int64_t count, std::int64_t n, double* total) {
  for (std::int64_t t = 0; t < count; ++t) {
    const float* from = x + offset[t];
    V a = zero(), b = zero();
    std::int64_t i = 0;
    for (; i + 2 * width <= n; i += 2 * width) {
      a = fma(load(g + i), load(from + i), a);
      b = fma(load(g + i + width), load(from + i + width), b);
    }
    for (; i < n; i += width) {
      const int rest = n - i < width ? int(n - i) : width;
      a = fma(load_part(g + i, rest), load_part(from + i, rest), a);
    }
    total[t] += lanes(plus(a, b));
  }
}

void pick(const float* x, const std::int32_t* index, const float* weight, std::int64_t count, float* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    V sum = zero();
    for (std::int64_t t = 0; t < count; ++t) {
      const V w = load(weight + t * n + i);
      sum = fma(w, gather(x, index + t * n + i, w), sum);
    }
    store(out + i, sum);
  }
  for (; i < n; ++i) {
    float sum = 0;
    for (std::int64_t t = 0; t < count; ++t)
      if (weight[t * n + i] != 0) sum = __builtin_fmaf(weight[t * n + i], x[index[t * n + i]], sum);
    out[i] = sum;
  }
}

void add(const float* x, float factor, float* out, std::int64_t n) {
  const V by = set1(factor);
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(out + i, fma(by, load(x + i), load(out + i)));
  if (i < n) store_part(out + i, fma(by, load_part(x + i, int(n - i)), load_part(out + i, int(n - i))), int(n - i));
}

void affine(const float* x, float factor, float offset, float* out, std::int64_t n) {
  const V by = set1(factor), start = set1(offset);
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(out + i, fma(by, load(x + i), start));
  if (i < n) store_part(out + i, fma(by, load_part(x + i, int(n - i)), start), int(n - i));
}

void max(const float* x, float* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(out + i, larger(load(x + i), load(out + i)));
  if (i < n) store_part(out + i, larger(load_part(x + i, int(n - i)), load_part(out + i, int(n - i))), int(n - i));
}

/// Partial sums of f32 leave for a double before they grow long.
template <class F>
inline __attribute__((always_inline)) double total_of(std::int64_t n, F term) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n;) {
    const std::int64_t end = n - begin < 4096 ? n : begin + 4096;
    V a = zero(), b = zero();
    std::int64_t i = begin;
    for (; i + 2 * width <= end; i += 2 * width) a = plus(a, term(i, width)), b = plus(b, term(i + width, width));
    for (; i < end; i += width) a = plus(a, term(i, end - i < width ? int(end - i) : width));
    total += lanes(plus(a, b));
    begin = end;
  }
  return total;
}

double sum(const float* x, std::int64_t n) {
  return total_of(n, [x](std::int64_t i, int rest) __attribute__((always_inline)) { return rest == width ? load(x + i) : load_part(x + i, rest); });
}

double squares(const float* x, float mean, std::int64_t n) {
  return total_of(n, [x, m = set1(mean)](std::int64_t i, int rest) __attribute__((always_inline)) {
    const V off = minus(rest == width ? load(x + i) : load_part(x + i, rest), rest == width ? m : keep_part(m, rest));
    return mul(off, off);
  });
}

constexpr MapTable make_table() { return {taps, dots, pick, add, affine, max, sum, squares}; }
