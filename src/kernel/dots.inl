// SPDX-License-Identifier: Apache-2.0
// Integer products of 8-bit rows and quantised panels, over the vector operations of the including file: `Codes` made of a load by
// prepare, dot_start, dot_add, dot_end. Sums over a group of channels are exact.

/// R rows x N vectors of columns from `column` on. Not inlined: the accumulators must stay in registers.
template <Layout L, int R, int N>
__attribute__((noinline)) void dot(const Rows& a, const std::uint8_t* w, std::int64_t apart, std::int64_t column, float* y,
                                   std::int64_t ldy) {
  constexpr Form f = form_of(L);
  constexpr int each = panel / width, step = many<L>, split = 32 / f.channels;
  const std::int64_t k = a.k, blocks = k / 32;
  w += column / panel * apart;
  const int lane = int(column % panel);
  const std::int8_t* q = a.q;
  const std::int32_t* start = f.channels == 16 ? a.half : a.minus;
  V sum[R][N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) sum[r][v] = zero();
  const std::uint8_t* codes = w + 4 * lane;
  for (std::int64_t g = 0; g < blocks * split; ++g) {
    if constexpr (R <= 2) ask_for_group<L>(w, g);
    I d[R][N];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) d[r][v] = dot_start<f.bits>(start + r * blocks * split + g);
#pragma GCC unroll 16
    for (int s = 0; s < f.channels; s += step, codes += 64, q += step) {
      if constexpr (f.bits == 8) {
        Codes<8> c[N];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) c[v] = prepare<8>(load_int(codes + v / each * apart + v % each * 4 * width));
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const I x = broadcast(q + r * k);
#pragma GCC unroll 16
          for (int v = 0; v < N; ++v) dot_add(d[r][v], c[v], x);
        }
      } else {
        I both[N];
        Codes<4> c[N];
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) {
          both[v] = load_int(codes + v / each * apart + v % each * 4 * width);
          c[v] = prepare<4>(both[v]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const I x = broadcast(q + r * k);
#pragma GCC unroll 16
          for (int v = 0; v < N; ++v) dot_add(d[r][v], c[v], x);
        }
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) c[v] = prepare<4>(shift_right<4>(both[v]));
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const I x = broadcast(q + r * k + 4);
#pragma GCC unroll 16
          for (int v = 0; v < N; ++v) dot_add(d[r][v], c[v], x);
        }
      }
    }
    V scale[N], min[N];
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) {
      const int first = lane + v % each * width;
      scale[v] = factor<L>(w + v / each * apart, k, 0, g, first);
      if constexpr (f.min)
        min[v] = factor<L>(w + v / each * apart, k, 1, g, first);
      else if constexpr (f.bits == 4)
        min[v] = mul(scale[v], set1(-8.0f));
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V mine = set1(a.scale[r * blocks + g / split]);
#pragma GCC unroll 16
      for (int v = 0; v < N; ++v) accumulate(sum[r][v], mul(dot_end<f.bits>(d[r][v]), mine), scale[v]);
      if constexpr (f.min || f.bits == 4) {
        const V total = set1(a.sum[r * blocks + g]);
#pragma GCC unroll 16
        for (int v = 0; v < N; ++v) accumulate(sum[r][v], total, min[v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < N; ++v) store(y + r * ldy + v * width, sum[r][v]);
}

template <Layout L, int N>
void dot_group(std::int64_t rows, const Rows& a, const std::uint8_t* w, std::int64_t apart, std::int64_t column, float* y,
               std::int64_t ldy) {
  switch (rows) {
    case 1:
      return dot<L, 1, N>(a, w, apart, column, y, ldy);
    case 2:
      return dot<L, 2, N>(a, w, apart, column, y, ldy);
    case 3:
      return dot<L, 3, N>(a, w, apart, column, y, ldy);
    case 4:
      return dot<L, 4, N>(a, w, apart, column, y, ldy);
    case 5:
      return dot<L, 5, N>(a, w, apart, column, y, ldy);
    default:
      return dot<L, 6, N>(a, w, apart, column, y, ldy);
  }
}

template <Layout L>
void dots(const Rows& a, std::int64_t rows, const std::uint8_t* w, std::int64_t apart, std::int64_t columns, float* y, std::int64_t ldy) {
  std::int64_t j = 0;
  constexpr int whole = panel / width;  // a panel at a time: one stream of memory
  if (rows <= 2) {
    for (std::int64_t b = 0; b < (ahead < columns / panel * apart ? ahead : columns / panel * apart); b += 64) __builtin_prefetch(w + b);
    for (; j + panel <= columns; j += panel)
      rows == 1 ? dot<L, 1, whole>(a, w, apart, j, y + j, ldy) : dot<L, 2, whole>(a, w, apart, j, y + j, ldy);
  }
  const auto strip = [&](auto vectors) {
    constexpr int N = decltype(vectors)::value;
    for (; j + N * width <= columns; j += N * width)
      for (std::int64_t i = 0; i < rows; i += most_rows) dot_group<L, N>(rows - i, a.from(i), w, apart, j, y + i * ldy + j, ldy);
  };
  strip(std::integral_constant<int, dot_vectors>{});
  if constexpr (dot_vectors > 1) strip(std::integral_constant<int, 1>{});
  if (j == columns) return;
  for (std::int64_t i = 0; i < rows; i += most_rows) {
    float part[most_rows * width];
    dot_group<L, 1>(rows - i, a.from(i), w, apart, j, part, width);
    for (std::int64_t r = i; r < rows && r < i + most_rows; ++r)
      for (std::int64_t e = j; e < columns; ++e) y[r * ldy + e] = part[(r - i) * width + e - j];
  }
}
