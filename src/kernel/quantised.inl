// SPDX-License-Identifier: Apache-2.0
// Panels to f32 and rows to 8-bit integers, over the vector operations of the including file.

/// The scales (at 0) or minima (at 1) of a group of channels, columns [first, first + width).
template <Layout L>
inline V factor(const std::uint8_t* w, std::int64_t k, int at, std::int64_t index, int first) {
  const std::uint8_t* p = w + code_bytes(L, k) + at * scale_bytes(L, k) + (index * panel + first) * form_of(L).scale;
  if constexpr (form_of(L).scale == 2) return from_half(reinterpret_cast<const std::uint16_t*>(p));
  else return load(reinterpret_cast<const float*>(p));
}

template <Layout L>
void expand(const std::uint8_t* w, std::int64_t k, std::int64_t from, std::int64_t count, float* to) {
  for (int first = 0; first < panel; first += width) {
    if constexpr (L == Layout::f16) {
      const auto* p = reinterpret_cast<const std::uint16_t*>(w) + from * panel + first;
      for (std::int64_t i = 0; i < count; ++i) store(to + i * panel + first, from_half(p + i * panel));
    } else if constexpr (L == Layout::bf16) {
      for (std::int64_t i = 0; i < count; i += 2) {
        const I pair = load_int(w + ((from + i) * panel + 2 * first) * 2);
        store(to + i * panel + first, as_float(shift_left<16>(pair)));
        if (i + 1 < count) store(to + (i + 1) * panel + first, as_float(and_int(pair, int(0xffff0000u))));
      }
    } else {
      constexpr Form f = form_of(L);
      constexpr int many = 32 / f.bits;  // channels of a column in a load
      for (std::int64_t i = 0; i < count; i += f.channels) {
        const V d = factor<L>(w, k, 0, (from + i) / f.channels, first);
        [[maybe_unused]] V m;
        if constexpr (f.min) m = factor<L>(w, k, 1, (from + i) / f.channels, first);
        for (std::int64_t at = i; at < i + f.channels; at += many) {
          I codes = load_int(w + (from + at) * panel * f.bits / 8 + 4 * first);
          const auto put = [&](std::int64_t channel, I code) __attribute__((always_inline)) {
            V x = mul(d, to_float(f.bits == 8 ? add_int(code, -128) : f.min ? code : add_int(code, -8)));
            if constexpr (f.min) {
              pin(x);  // the product is rounded before the sum, as in dequantise
              x = add(x, m);
            }
            store(to + channel * panel + first, x);
          };
          if constexpr (f.bits == 8) {
            put(at, and_int(codes, 255));
            put(at + 1, and_int(shift_right<8>(codes), 255));
            put(at + 2, and_int(shift_right<16>(codes), 255));
            put(at + 3, and_int(shift_right<24>(codes), 255));
          } else {
            put(at, and_int(codes, 15));
            put(at + 4, and_int(shift_right<4>(codes), 15));
            put(at + 1, and_int(shift_right<8>(codes), 15));
            put(at + 5, and_int(shift_right<12>(codes), 15));
            put(at + 2, and_int(shift_right<16>(codes), 15));
            put(at + 6, and_int(shift_right<20>(codes), 15));
            put(at + 3, and_int(shift_right<24>(codes), 15));
            put(at + 7, and_int(shift_right<28>(codes), 15));
          }
        }
      }
    }
  }
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
