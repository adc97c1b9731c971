// SPDX-License-Identifier: Apache-2.0
// Panels to f32 and rows to 8-bit integers, over the vector operations of the including file.

constexpr std::int64_t ahead = 8192;  ///< bytes asked for early where memory sets the pace

/// Asks for as much, further on, as group g of a panel's channels takes with its scales: the panels are one stream.
template <Layout L>
inline void ask_for_group(const std::uint8_t* w, std::int64_t g) {
  constexpr Form f = form_of(L);
  constexpr std::int64_t bytes = f.channels * panel * f.bits / 8 + panel * f.scale * (f.min ? 2 : 1);
  const std::uint8_t* early = w + g * bytes + ahead;
#pragma GCC unroll 16
  for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(early + b);
}

/// The scales (at 0) or minima (at 1) of a group of channels, columns [first, first + width).
template <Layout L>
inline V factor(const std::uint8_t* w, std::int64_t k, int at, std::int64_t index, int first) {
  const std::uint8_t* p = w + code_bytes(L, k) + at * scale_bytes(L, k) + (index * panel + first) * form_of(L).scale;
  if constexpr (form_of(L).scale == 2)
    return from_half(reinterpret_cast<const std::uint16_t*>(p));
  else
    return load(reinterpret_cast<const float*>(p));
}

/// f(channel, weight) for the channels of one load: `w` points at the column's codes, d and m are its scale and minimum (floats: not read).
template <Layout L, class F>
__attribute__((always_inline)) inline void weights_of(const std::uint8_t* w, [[maybe_unused]] V d, [[maybe_unused]] V m, const F& f) {
  if constexpr (L == Layout::f16) {
    f(0, from_half(reinterpret_cast<const std::uint16_t*>(w)));
  } else if constexpr (L == Layout::bf16) {
    const I pair = load_int(w);
    f(0, as_float(shift_left<16>(pair)));
    f(1, as_float(and_int(pair, int(0xffff0000u))));
  } else {
    constexpr Form form = form_of(L);
    const auto weight = [&](I code) __attribute__((always_inline)) {
      V x = mul(d, to_float(form.bits == 8 ? add_int(code, -128) : form.min ? code : add_int(code, -8)));
      if constexpr (form.min) {
        pin(x);  // the product is rounded before the sum, as in dequantise
        x = add(x, m);
      }
      return x;
    };
    const I codes = load_int(w);
    if constexpr (form.bits == 8) {
      f(0, weight(and_int(codes, 255)));
      f(1, weight(and_int(shift_right<8>(codes), 255)));
      f(2, weight(and_int(shift_right<16>(codes), 255)));
      f(3, weight(shift_right<24>(codes)));
    } else {
      f(0, weight(and_int(codes, 15)));
      f(1, weight(and_int(shift_right<8>(codes), 15)));
      f(2, weight(and_int(shift_right<16>(codes), 15)));
      f(3, weight(and_int(shift_right<24>(codes), 15)));
      f(4, weight(and_int(shift_right<4>(codes), 15)));
      f(5, weight(and_int(shift_right<12>(codes), 15)));
      f(6, weight(and_int(shift_right<20>(codes), 15)));
      f(7, weight(shift_right<28>(codes)));
    }
  }
}
/// Channels of a column in one load, channels that share a scale, bytes of a column's part of a load.
template <Layout L>
constexpr int many = L == Layout::f16    ? 1
                     : L == Layout::bf16 ? 2
                                         : 32 / form_of(L).bits;
template <Layout L>
constexpr int sharing = is_quantised(L) ? form_of(L).channels : many<L>;
template <Layout L>
constexpr int column_bytes = many<L> * form_of(L).bits / 8;

template <Layout L>
void expand(const std::uint8_t* w, std::int64_t k, std::int64_t from, std::int64_t count, float* to) {
  for (int first = 0; first < panel; first += width) {
    V d = zero(), m = zero();
    for (std::int64_t i = 0; i < count; i += many<L>) {
      if constexpr (is_quantised(L)) {
        if (i % sharing<L> == 0) d = factor<L>(w, k, 0, (from + i) / sharing<L>, first);
        if (form_of(L).min && i % sharing<L> == 0) m = factor<L>(w, k, 1, (from + i) / sharing<L>, first);
      }
      weights_of<L>(
          w + ((from + i) / many<L> * panel + first) * column_bytes<L>, d, m, [&](int channel, V x) __attribute__((always_inline)) {
            if (L != Layout::bf16 || i + channel < count) store(to + (i + channel) * panel + first, x);
          });
    }
  }
}

/// R rows x N vectors of columns, from `column` on; weights are widened in registers.
template <Layout L, int R, int N>
__attribute__((noinline)) void thin_micro(const Left& a, const std::uint8_t* w, std::int64_t apart, std::int64_t k, std::int64_t from,
                                          std::int64_t count, std::int64_t column, float* c, std::int64_t ldc, bool adding) {
  constexpr int each = panel / width;
  w += column / panel * apart;
  const int lane = int(column % panel);
  const float* x = a.data;
  const std::int64_t row = a.row, odd = L == Layout::bf16 ? count % 2 : 0;
  V sum[R][N], d[N], m[N];
#pragma GCC unroll 8
  for (int v = 0; v < N; ++v) {
    d[v] = m[v] = zero();
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r][v] = zero();
  }
  const std::uint8_t* codes = w + from / many<L> * panel * column_bytes<L> + lane * column_bytes<L>;
  const std::int64_t early = N / each * apart <= 8 * ahead ? N / each * apart : ahead;  // in the next panels, or on in these
  for (std::int64_t i = 0; i < count - odd; i += sharing<L>) {
    if constexpr (is_quantised(L)) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        const std::uint8_t* here = w + v / each * apart;
        d[v] = factor<L>(here, k, 0, (from + i) / sharing<L>, lane + v % each * width);
        if constexpr (form_of(L).min) m[v] = factor<L>(here, k, 1, (from + i) / sharing<L>, lane + v % each * width);
      }
    }
    for (int s = 0; s < sharing<L>; s += many<L>, codes += panel * column_bytes<L>, x += many<L>) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        const std::uint8_t* here = codes + v / each * apart + v % each * width * column_bytes<L>;
        if (v % each == 0) __builtin_prefetch(here + early);
        weights_of<L>(
            here, d[v], m[v], [&](int channel, V weight) __attribute__((always_inline)) {
#pragma GCC unroll 8
              for (int r = 0; r < R; ++r) accumulate(sum[r][v], set1(x[r * row + channel]), weight);
            });
      }
    }
  }
  if constexpr (L == Layout::bf16) {
    if (odd) {
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) {
        const V weight = as_float(shift_left<16>(load_int(codes + v / each * apart + v % each * width * column_bytes<L>)));
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) accumulate(sum[r][v], set1(x[r * row]), weight);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      float* to = c + r * ldc + v * width;
      store(to, adding ? add(load(to), sum[r][v]) : sum[r][v]);
    }
}

template <Layout L, int R>
void thin_rows(const Left& a, const std::uint8_t* w, std::int64_t apart, std::int64_t k, std::int64_t from, std::int64_t count,
               std::int64_t columns, float* c, std::int64_t ldc, bool adding) {
  std::int64_t j = 0;
  for (; j + 4 * width <= columns; j += 4 * width) thin_micro<L, R, 4>(a, w, apart, k, from, count, j, c + j, ldc, adding);
  for (; j < columns; j += width) {
    if (j + width <= columns) {
      thin_micro<L, R, 1>(a, w, apart, k, from, count, j, c + j, ldc, adding);
      continue;
    }
    float part[R * width];
    thin_micro<L, R, 1>(a, w, apart, k, from, count, j, part, width, false);
    for (int r = 0; r < R; ++r)
      for (std::int64_t e = j; e < columns; ++e)
        c[r * ldc + e] = adding ? c[r * ldc + e] + part[r * width + e - j] : part[r * width + e - j];
  }
}

template <Layout L>
void thin(const Left& a, std::int64_t rows, const std::uint8_t* w, std::int64_t apart, std::int64_t k, std::int64_t from,
          std::int64_t count, std::int64_t columns, float* c, std::int64_t ldc, bool adding) {
  std::int64_t i = 0;
  const auto at = [&](std::int64_t row) { return Left{a.data + row * a.row, a.row, 1, a.group}; };
  for (; i + 2 <= rows; i += 2) thin_rows<L, 2>(at(i), w, apart, k, from, count, columns, c + i * ldc, ldc, adding);
  if (i < rows) thin_rows<L, 1>(at(i), w, apart, k, from, count, columns, c + i * ldc, ldc, adding);
}

/// Below 2^-100 a block counts as zero; one that holds NaN or infinity makes every product of the row NaN.
void quantise(const float* x, const Rows& to) {
  for (std::int64_t b = 0; b < to.k / 32; ++b, x += 32) {
    I top = and_int(load_int(x), 0x7fffffff);
#pragma GCC unroll 4
    for (int i = width; i < 32; i += width) top = max_int(top, and_int(load_int(x + i), 0x7fffffff));
    const std::int32_t bits = largest(top);
    float most;
    __builtin_memcpy(&most, &bits, sizeof most);
    const bool finite = bits < 0x7f800000, empty = most < 0x1p-100f || !finite;
    const float inverse = empty ? 0.0f : 127.0f / most;
    std::int32_t sums[2];
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      I sum = to_int(zero());
#pragma GCC unroll 2
      for (int i = 16 * half; i < 16 * half + 16; i += width) {
        const I q = empty ? to_int(zero()) : to_int(mul(load(x + i), set1(inverse)));
        store_bytes(to.q + 32 * b + i, q);
        sum = add_ints(sum, q);
      }
      sums[half] = total(sum);
      to.half[2 * b + half] = -128 * sums[half];
    }
    const float scale = finite ? most / 127.0f : __builtin_nanf("");
    to.scale[b] = empty && finite ? 0.0f : scale;
    to.sum[b] = to.scale[b] * float(sums[0] + sums[1]);
    to.minus[b] = -128 * (sums[0] + sums[1]);
  }
}
