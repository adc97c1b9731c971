// SPDX-License-Identifier: Apache-2.0
// Panels of 16 windows, one tap of some channels at a time, from maps as they lie. No includes here: this is inside a namespace.

/// Bit l to bit 2 l of 16.
inline std::uint32_t spread(std::uint32_t lanes) {
  lanes = (lanes | lanes << 8) & 0x00ff00ff, lanes = (lanes | lanes << 4) & 0x0f0f0f0f;
  lanes = (lanes | lanes << 2) & 0x33333333;
  return (lanes | lanes << 1) & 0x55555555;
}

/// `step` 1 or 2: the elements of a piece are loaded side by side.
template <int step, int most>
inline __attribute__((always_inline)) void pieces_of(const float* x, std::int64_t channel, std::int64_t channels, const Piece* pieces,
                                                     int count, float* to, std::int64_t apart) {
  for (int v = 0; v < 16; v += width) {
    const float* from[most];
    Mask mask[most][step];
    for (int i = 0; i < count; ++i) {
      from[i] = x + pieces[i].offset + step * v;
      std::uint32_t lanes = pieces[i].lanes >> v & ((1u << width) - 1);
      if constexpr (step == 2) lanes = spread(lanes);
      for (int s = 0; s < step; ++s) mask[i][s] = mask_of(lanes >> s * width);
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      V all[step];
#pragma GCC unroll 2
      for (int s = 0; s < step; ++s) all[s] = zero();
#pragma GCC unroll 2
      for (int i = 0; i < count; ++i)
#pragma GCC unroll 2
        for (int s = 0; s < step; ++s) {
          const V some = load_where(from[i] + c * channel + s * width, mask[i][s]);
          all[s] = i == 0 ? some : either(all[s], some);
        }
      store(to + c * apart + v, step == 1 ? all[0] : evens(all[0], all[step - 1]));
    }
  }
}

template <int step>
inline __attribute__((always_inline)) void pieces_by(const float* x, std::int64_t channel, std::int64_t channels, const Piece* pieces,
                                                     int count, float* to, std::int64_t apart) {
  if (count == 1) return pieces_of<step, 1>(x, channel, channels, pieces, 1, to, apart);
  if (count == 2) return pieces_of<step, 2>(x, channel, channels, pieces, 2, to, apart);
  return pieces_of<step, 16>(x, channel, channels, pieces, count, to, apart);
}

void columns(const float* x, std::int64_t channel, std::int64_t channels, const Piece* pieces, int count, int step, float* to,
             std::int64_t apart) {
  if (step == 1)
    pieces_by<1>(x, channel, channels, pieces, count, to, apart);
  else
    pieces_by<2>(x, channel, channels, pieces, count, to, apart);
}

void quads(const float* x, std::int64_t channel, std::int64_t channels, const std::int64_t* at, const std::uint8_t* inside, int count,
           float* to, std::int64_t next, std::int64_t apart) {
  bool whole = true;
  for (int l = 0; l < 16; ++l) whole = whole && inside[l] == 15;
  for (std::int64_t c = 0; c < channels; ++c, x += channel, to += apart)
    for (int v = 0; v < 16; v += width) {
      V t[4];
      if (whole)
        turn([&](int l) HEED_INLINE { return _mm_loadu_ps(x + at[v + l]); }, t);
      else
        turn([&](int l) HEED_INLINE { return load_four(x + at[v + l], inside[v + l]); }, t);
      for (int i = 0; i < count; ++i) store(to + i * next + v, t[i]);
    }
}
