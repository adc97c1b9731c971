// SPDX-License-Identifier: Apache-2.0
// The float product over the vector operations of the including file. No includes here: this is inside a namespace.

constexpr std::int64_t ahead_floats = 2048;  ///< asked for early where one row makes memory set the pace

/// R rows x N panels. Not inlined: the accumulators must stay in registers.
template <int R, int N>
__attribute__((noinline)) void micro(const float* a, std::int64_t row, std::int64_t step, const float* b, std::int64_t next,
                                     std::int64_t apart, std::int64_t depth, float* c, std::int64_t ldc, bool adding) {
  constexpr int each = panel / width, vectors = N * each;
  V sum[R][vectors], w[vectors];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) sum[r][v] = zero();
  for (; depth > 0; --depth, a += step, b += next) {
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      if (R == 1 && v % each == 0) __builtin_prefetch(b + v / each * apart + ahead_floats);
      w[v] = load(b + v / each * apart + v % each * width);
      pin(w[v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V x = set1(a[r * row]);
#pragma GCC unroll 16
      for (int v = 0; v < vectors; ++v) accumulate(sum[r][v], x, w[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < vectors; ++v) {
      float* to = c + r * ldc + v * width;
      store(to, adding ? add(load(to), sum[r][v]) : sum[r][v]);
    }
}

template <int N>
void group(std::int64_t rows, const float* a, std::int64_t row, std::int64_t step, const float* b, std::int64_t next, std::int64_t apart,
           std::int64_t depth, float* c, std::int64_t ldc, bool adding) {
  switch (rows) {
    case 1:
      return micro<1, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
    case 2:
      return micro<2, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
    case 3:
      return micro<3, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
    case 4:
      return micro<4, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
    case 5:
      return micro<5, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
    default:
      return micro<6, N>(a, row, step, b, next, apart, depth, c, ldc, adding);
  }
}

/// Panels outside, so that B stays in the nearest cache while the rows pass.
void multiply(const Left& a, const float* b, std::int64_t next, std::int64_t apart, std::int64_t depth, std::int64_t rows,
              std::int64_t columns, float* c, std::int64_t ldc, bool adding) {
  std::int64_t j = 0;
  const auto strip = [&](auto panels) {
    constexpr int N = decltype(panels)::value;
    for (; j + N * panel <= columns; j += N * panel)
      for (std::int64_t i = 0; i < rows; i += most_rows)
        group<N>(rows - i, a.data + i / most_rows * a.group, a.row, a.step, b + j / panel * apart, next, apart, depth, c + i * ldc + j, ldc,
                 adding);
  };
  if constexpr (few_panels > wide_panels) {
    for (; rows == 1 && j + few_panels * panel <= columns; j += few_panels * panel)
      micro<1, few_panels>(a.data, a.row, a.step, b + j / panel * apart, next, apart, depth, c + j, ldc, adding);
  }
  strip(std::integral_constant<int, wide_panels>{});
  if constexpr (wide_panels > 3)
    if (const std::int64_t left = (columns - j) / panel; left == 3) strip(std::integral_constant<int, 3>{});
  if constexpr (wide_panels > 2) strip(std::integral_constant<int, 2>{});
  if constexpr (wide_panels > 1) strip(std::integral_constant<int, 1>{});
  if (j == columns) return;
  for (std::int64_t i = 0; i < rows; i += most_rows) {
    float part[most_rows * panel];
    group<1>(rows - i, a.data + i / most_rows * a.group, a.row, a.step, b + j / panel * apart, next, apart, depth, part, panel, false);
    for (std::int64_t r = i; r < rows && r < i + most_rows; ++r)
      for (std::int64_t e = j; e < columns; ++e) {
        const float x = part[(r - i) * panel + e - j];
        c[r * ldc + e] = adding ? c[r * ldc + e] + x : x;
      }
  }
}
