// SPDX-License-Identifier: Apache-2.0
// The loops of maps.h over the vector operations of the including file. No includes here: this is inside a namespace.

/// R rows of N vectors, the last of `rest` lanes. Not inlined: the sums must stay in registers.
template <int R, int N>
__attribute__((noinline)) void taps_of(const float* x, std::int64_t apart, const std::int64_t* offset, const float* weight,
                                       std::int64_t count, float start, float* out, std::int64_t out_apart, int rest) {
  V sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[r][v] = set1(start);
  for (std::int64_t t = 0; t < count; ++t) {
    const V w = set1(weight[t]);
    const float* from = x + offset[t];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        const float* at = from + r * apart + v * width;
        sum[r][v] = fma(w, v + 1 < N || rest == width ? load(at) : load_part(at, rest), sum[r][v]);
      }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      float* to = out + r * out_apart + v * width;
      if (v + 1 < N || rest == width)
        store(to, sum[r][v]);
      else
        store_part(to, sum[r][v], rest);
    }
}

void taps(const float* x, std::int64_t apart, std::int64_t rows, const std::int64_t* offset, const float* weight, std::int64_t count,
          float start, float* out, std::int64_t out_apart, std::int64_t n) {
  std::int64_t i = 0;
  // Columns of four vectors, then a last one of as many as are left; several rows where a column is narrow.
  const auto column = [&](auto many, auto vectors, int rest) {
    std::int64_t r = 0;
    const auto some = [&](auto now) __attribute__((always_inline)) {
      constexpr int R = decltype(now)::value;
      if constexpr (R <= decltype(many)::value)
        for (; r + R <= rows; r += R)
          taps_of<R, decltype(vectors)::value>(x + r * apart + i, apart, offset, weight, count, start, out + r * out_apart + i, out_apart,
                                               rest);
    };
    some(Count<8>()), some(Count<4>()), some(Count<2>()), some(Count<1>());
  };
  for (; i + 4 * width < n; i += 4 * width) column(Count<2>(), Count<4>(), width);
  const int left = int((n - i + width - 1) / width), rest = int(n - i) - (left - 1) * width;
  if (left == 4)
    column(Count<2>(), Count<4>(), rest);
  else if (left == 3)
    column(Count<2>(), Count<3>(), rest);
  else if (left == 2)
    column(Count<4>(), Count<2>(), rest);
  else if (left == 1)
    column(Count<8>(), Count<1>(), rest);
}

/// What slide() is given.
struct Slide {
  std::int64_t pitch, step;
  const std::int64_t* offset;
  const float* weight;
  int high, wide;
};
constexpr int abreast = 4;  // rows of outputs that share what is loaded

/// Row y of x, by N vectors, the last of `rest` lanes, into the rows [first, last) of outputs that it reaches.
template <int first, int last, int N>
inline __attribute__((always_inline)) void slide_row(const Slide& s, const float* x, int y, int rest, V (*sum)[N]) {
  for (int w = 0; w < s.wide; ++w) {
    const float* from = x + s.offset[w];
    V v[N];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) v[i] = i + 1 < N || rest == width ? load(from + i * width) : load_part(from + i * width, rest);
#pragma GCC unroll 4
    for (int r = first; r < last; ++r) {
      const V by = set1(s.weight[(y - r * s.step) * s.wide + w]);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) sum[r][i] = fma(by, v[i], sum[r][i]);
    }
  }
}

/// `abreast` rows by N vectors. Not inlined: the sums must stay in registers.
template <int N>
__attribute__((noinline)) void slide_block(const Slide& s, const float* x, float start, float* out, std::int64_t out_apart, int rest) {
  V sum[abreast][N];
#pragma GCC unroll 4
  for (int r = 0; r < abreast; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) sum[r][i] = set1(start);
  const int rows = int(abreast - 1) * int(s.step) + s.high;
  for (int y = 0; y < rows; ++y, x += s.pitch) {
    // Rows r with 0 <= y - step r < high.
    const int low = y < s.high ? 0 : (y - s.high) / int(s.step) + 1, reach = y / int(s.step) + 1, high = reach < abreast ? reach : abreast;
    switch (low * 8 + high) {
#define HEED_ROWS(a, b)                     \
  case a * 8 + b:                           \
    slide_row<a, b, N>(s, x, y, rest, sum); \
    break
      HEED_ROWS(0, 1);
      HEED_ROWS(0, 2);
      HEED_ROWS(0, 3);
      HEED_ROWS(0, 4);
      HEED_ROWS(1, 2);
      HEED_ROWS(1, 3);
      HEED_ROWS(1, 4);
      HEED_ROWS(2, 3);
      HEED_ROWS(2, 4);
      HEED_ROWS(3, 4);
#undef HEED_ROWS
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < abreast; ++r)
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) {
      float* to = out + r * out_apart + i * width;
      if (i + 1 < N || rest == width)
        store(to, sum[r][i]);
      else
        store_part(to, sum[r][i], rest);
    }
}

void slide(const float* x, std::int64_t pitch, std::int64_t step, const std::int64_t* offset, const float* weight, int high, int wide,
           float start, float* out, std::int64_t out_apart, std::int64_t rows, std::int64_t n) {
  const Slide s{pitch, step, offset, weight, high, wide};
  constexpr int most = width == 16 ? 4 : 2;
  std::int64_t r = 0;
  for (; r + abreast <= rows; r += abreast) {
    const float* from = x + r * step * pitch;
    float* to = out + r * out_apart;
    std::int64_t i = 0;
    for (; i + most * width < n; i += most * width) slide_block<most>(s, from + i, start, to + i, out_apart, width);
    const int left = int((n - i + width - 1) / width), rest = int(n - i) - (left - 1) * width;
    if (left == 1) slide_block<1>(s, from + i, start, to + i, out_apart, rest);
    if (left == 2) slide_block<2>(s, from + i, start, to + i, out_apart, rest);
    if constexpr (most == 4) {
      if (left == 3) slide_block<3>(s, from + i, start, to + i, out_apart, rest);
      if (left == 4) slide_block<4>(s, from + i, start, to + i, out_apart, rest);
    }
  }
  if (r == rows) return;
  std::int64_t all[1024];  // the last rows by their taps
  for (int h = 0; h < high; ++h)
    for (int w = 0; w < wide; ++w) all[h * wide + w] = h * pitch + offset[w];
  taps(x + r * step * pitch, step * pitch, rows - r, all, weight, std::int64_t(high) * wide, start, out + r * out_apart, out_apart, n);
}

void skip(const float* x, std::int64_t step, float* out, std::int64_t n) {
  std::int64_t i = 0;
  if (step == 2) {
    for (; i + width < n; i += width) store(out + i, evens(load(x + 2 * i), load(x + 2 * i + width)));
    const int rest = int(n - i), reach = 2 * rest - 1, near = reach < width ? reach : width;
    if (rest > 0) store_part(out + i, evens(load_part(x + 2 * i, near), load_part(x + 2 * i + width, reach - near)), rest);
    return;
  }
  for (; i < n; ++i) out[i] = x[step * i];
}

void weave(const float* a, const float* b, float* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) {
    V low, high;
    interleave(load(a + i), load(b + i), low, high);
    store(out + 2 * i, low);
    store(out + 2 * i + width, high);
  }
  for (; i < n; ++i) out[2 * i] = a[i], out[2 * i + 1] = b[i];
}

void largest(const float* x, const std::int64_t* offset, std::int64_t count, float* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    V a = load(x + offset[0] + i), b = load(x + offset[0] + i + width);
    for (std::int64_t t = 1; t < count; ++t) {
      a = larger(load(x + offset[t] + i), a);
      b = larger(load(x + offset[t] + i + width), b);
    }
    store(out + i, a);
    store(out + i + width, b);
  }
  for (; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    V a = load_part(x + offset[0] + i, rest);
    for (std::int64_t t = 1; t < count; ++t) a = larger(load_part(x + offset[t] + i, rest), a);
    store_part(out + i, a, rest);
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
    total[t] += lanes(add(a, b));
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

/// Partial sums of f32 leave for a double before they grow long.
template <class F>
inline __attribute__((always_inline)) double total_of(std::int64_t n, F term) {
  double total = 0;
  for (std::int64_t begin = 0; begin < n;) {
    const std::int64_t end = n - begin < 4096 ? n : begin + 4096;
    V a = zero(), b = zero();
    std::int64_t i = begin;
    for (; i + 2 * width <= end; i += 2 * width) a = add(a, term(i, width)), b = add(b, term(i + width, width));
    for (; i < end; i += width) a = add(a, term(i, end - i < width ? int(end - i) : width));
    total += lanes(add(a, b));
    begin = end;
  }
  return total;
}

double sum(const float* x, std::int64_t n) {
  return total_of(
      n, [x](std::int64_t i, int rest) __attribute__((always_inline)) { return rest == width ? load(x + i) : load_part(x + i, rest); });
}

double squares(const float* x, float mean, std::int64_t n) {
  return total_of(
      n, [ x, m = set1(mean) ](std::int64_t i, int rest) __attribute__((always_inline)) {
        const V off = sub(rest == width ? load(x + i) : load_part(x + i, rest), rest == width ? m : keep_part(m, rest));
        return mul(off, off);
      });
}

constexpr MapTable make_table() {
  return {depthwise, windows, nullptr, taps,   slide, columns, quads,
          weave,     skip,    largest, dots,   pick,  points,  copy,
          turn,      spread,  add,     affine, sum,   squares, width == 16 ? 1 : 24};
}
