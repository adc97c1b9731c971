// SPDX-License-Identifier: Apache-2.0
// One map under one small kernel, seven rows of outputs at a time, read where it lies. No includes here: this is inside a namespace.

/// Kernel rows H, N vectors of outputs from column `first` on. A row of the map is loaded once for all outputs that it reaches; all of
/// them are in registers. Not inlined for their sake.
template <int H, int step, int N>
__attribute__((noinline)) void depthwise_of(const Depthwise& d, const float* const* rows, const float* weight, float start, float* out,
                                            std::int64_t out_row, std::int64_t first, int rest) {
  constexpr int R = Depthwise::rows;
  V sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < N; ++v) sum[r][v] = set1(start);
  for (int w = 0; w < d.wide; ++w, weight += H) {
    Mask mask[N][step];
#pragma GCC unroll 2
    for (int v = 0; v < N; ++v) {
      const std::int64_t at = first + v * width;
      const std::uint32_t lanes = std::uint32_t(d.lanes[w * d.panels + at / 16]) >> at % 16 & ((1u << width) - 1);
      for (int s = 0; s < step; ++s) mask[v][s] = mask_of((step == 2 ? spread(lanes) : lanes) >> s * width);
    }
    const std::int64_t column = d.tap[w] + step * first;
#pragma GCC unroll 24
    for (int y = 0; y < (R - 1) * step + H; ++y) {
      const float* from = rows[y] + column;
      V x[N];
#pragma GCC unroll 2
      for (int v = 0; v < N; ++v) {
        x[v] = load_where(from + step * v * width, mask[v][0]);
        if constexpr (step == 2) x[v] = evens(x[v], load_where(from + (2 * v + 1) * width, mask[v][1]));
      }
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        if (y < step * r || y >= step * r + H) continue;
        const V by = set1(weight[y - step * r]);
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v) sum[r][v] = fma(by, x[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < N; ++v) {
      float* to = out + r * out_row + first + v * width;
      if (v + 1 < N || rest == width)
        store(to, sum[r][v]);
      else
        store_part(to, sum[r][v], rest);
    }
}

template <int H, int step>
void depthwise_by(const Depthwise& d, const float* const* rows, const float* weight, float start, float* out, std::int64_t out_row,
                  std::int64_t n) {
  std::int64_t i = 0;
  if constexpr (width == 16)
    for (; n - i > width; i += 2 * width)
      depthwise_of<H, step, 2>(d, rows, weight, start, out, out_row, i, n - i < 2 * width ? int(n - i) - width : width);
  for (; i < n; i += width) depthwise_of<H, step, 1>(d, rows, weight, start, out, out_row, i, n - i < width ? int(n - i) : width);
}

void depthwise(const Depthwise& d, const float* const* rows, const float* weight, float start, float* out, std::int64_t out_row,
               std::int64_t n) {
  const auto by = [&](auto high) HEED_INLINE {
    constexpr int H = decltype(high)::value;
    d.step == 1 ? depthwise_by<H, 1>(d, rows, weight, start, out, out_row, n) : depthwise_by<H, 2>(d, rows, weight, start, out, out_row, n);
  };
  if (d.high == 2) by(Count<2>());
  if (d.high == 3) by(Count<3>());
  if (d.high == 4) by(Count<4>());
  if (d.high == 5) by(Count<5>());
  if (d.high == 7) by(Count<7>());
}
