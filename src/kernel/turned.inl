// SPDX-License-Identifier: Apache-2.0
// Where a column of B is contiguous (a weight [out, in] as it lies): packing, and the product of few rows without packing.

/// 16 rows of n numbers, `ld` apart, to [n][16].
void pack(const float* from, std::int64_t ld, std::int64_t n, float* to) {
  std::int64_t d = 0;
  for (; d + 4 <= n; d += 4)
#pragma GCC unroll 2
    for (int first = 0; first < panel; first += width) {
      V t[4];
      turn(from + first * ld + d, ld, t);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) store(to + (d + i) * panel + first, t[i]);
    }
  for (; d < n; ++d)
    for (int i = 0; i < panel; ++i) to[d * panel + i] = from[i * ld + d];
}

/// R rows x N panels, a cache line of each column at a time.
template <int R, int N>
__attribute__((noinline)) void turned_micro(const float* a, std::int64_t row, std::int64_t step, const float* b, std::int64_t ld,
                                            std::int64_t depth, float* c, std::int64_t ldc, bool adding) {
  constexpr int each = N * panel / width;
  V sum[R][each];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < each; ++v) sum[r][v] = zero();
  const auto four = [&](std::int64_t d, int v) __attribute__((always_inline)) {
    V t[4];
    turn(b + v * width * ld + d, ld, t);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) accumulate(sum[r][v], set1(a[r * row + (d + i) * step]), t[i]);
  };
  std::int64_t d = 0;
  for (; d + 16 <= depth; d += 16)
#pragma GCC unroll 8
    for (int v = 0; v < each; ++v)
#pragma GCC unroll 4
      for (int i = 0; i < 16; i += 4) four(d + i, v);
  for (; d + 4 <= depth; d += 4)
#pragma GCC unroll 8
    for (int v = 0; v < each; ++v) four(d, v);
  for (; d < depth; ++d) {
    float column[N * panel];
    for (int i = 0; i < N * panel; ++i) column[i] = b[i * ld + d];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < each; ++v) accumulate(sum[r][v], set1(a[r * row + d * step]), load(column + v * width));
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < each; ++v) {
      float* to = c + r * ldc + v * width;
      store(to, adding ? add(load(to), sum[r][v]) : sum[r][v]);
    }
}

void turned(const Left& a, const float* b, std::int64_t ld, std::int64_t depth, std::int64_t rows, std::int64_t columns, float* c,
            std::int64_t ldc, bool adding) {
  std::int64_t j = 0;
  const auto strip = [&](auto panels) {
    constexpr int N = decltype(panels)::value;
    const auto micro = rows == 1 ? turned_micro<1, N> : turned_micro<2, N>;
    for (; j + N * panel <= columns; j += N * panel) micro(a.data, a.row, a.step, b + j * ld, ld, depth, c + j, ldc, adding);
  };
  strip(std::integral_constant<int, 2>{});
  strip(std::integral_constant<int, 1>{});
}
