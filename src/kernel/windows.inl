// SPDX-License-Identifier: Apache-2.0
// The product of weights with windows read where they lie, lanes beyond the map masked: nothing is copied. No includes here: this is
// inside a namespace.

constexpr int widest = width == 16 ? 4 : 1;  // panels: 6 x 64 or 6 x 16 sums

/// R outputs x N panels of windows, the last of `rest` windows. Not inlined: the sums must stay in registers.
template <int R, int N>
__attribute__((noinline)) void windows_of(const Windows& w, const float* a, std::int64_t row, const float* start, float* c,
                                          std::int64_t ldc, int rest) {
  constexpr int each = 16 / width, vectors = N * each;
  V sum[R][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      sum[r][v] = zero();
      if (v % each == 0) __builtin_prefetch(c + r * ldc + v * width, 1);
    }
  const std::int64_t taps = w.taps;
  const float* x = w.x;
  for (std::int64_t i = w.channels; i > 0; --i, x += w.channel) {
    const std::int64_t* offset = w.offset;
    const std::uint16_t* lanes = w.lanes;
    for (std::int64_t t = taps; t > 0; --t, ++offset, lanes += 4, ++a) {
      const float* from = x + *offset;
      V b[vectors];
      if (width == 16 || *lanes != 0xffff) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) b[v] = load_where(from + v * width, mask_of(lanes[v / each] >> v % each * width));
      } else {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) b[v] = load(from + v * width);
      }
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) pin(b[v]);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const V by = set1(a[r * row]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) accumulate(sum[r][v], by, b[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      float* to = c + r * ldc + v * width;
      const int some = v < vectors - each ? width : rest - (v - (vectors - each)) * width;  // windows of this vector
      if (some >= width)
        store(to, add(start != nullptr ? set1(start[r]) : load(to), sum[r][v]));
      else if (some > 0)
        store_part(to, add(start != nullptr ? set1(start[r]) : load_part(to, some), sum[r][v]), some);
    }
}

template <int N>
void windows_by(const Windows& w, const float* a, std::int64_t row, std::int64_t rows, const float* start, float* c, std::int64_t ldc,
                int rest) {
  const auto some = [&](auto many) HEED_INLINE {
    constexpr int R = decltype(many)::value;
    for (; rows >= R; rows -= R, a += R * row, c += R * ldc, start += start != nullptr ? R : 0)
      windows_of<R, N>(w, a, row, start, c, ldc, rest);
  };
  some(Count<6>()), some(Count<4>()), some(Count<2>()), some(Count<1>());
}

void windows(const Windows& w, const float* a, std::int64_t row, std::int64_t rows, const float* start, float* c, std::int64_t ldc,
             std::int64_t n) {
  for (std::int64_t at = 0; at < n; at += widest * 16) {
    const Windows here{w.x + at, w.channel, w.channels, w.taps, w.offset, w.lanes + at / 16};
    const std::int64_t left = n - at < widest * 16 ? n - at : widest * 16;
    const int rest = int((left - 1) % 16) + 1;
    const auto by = [&](auto panels) HEED_INLINE { windows_by<decltype(panels)::value>(here, a, row, rows, start, c + at, ldc, rest); };
    if constexpr (widest == 4) {
      if (left > 48) by(Count<4>());
      if (left > 32 && left <= 48) by(Count<3>());
      if (left > 16 && left <= 32) by(Count<2>());
    }
    if (left <= 16) by(Count<1>());
  }
}
