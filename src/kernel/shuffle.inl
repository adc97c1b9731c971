// SPDX-License-Identifier: Apache-2.0
// Transposing and interleaving words on AVX2. No includes here: this is inside a namespace and a target region.

/// 8 x 8 at a time: pairs, quads, halves.
void turn(const float* from, std::int64_t s, std::int64_t n, float* to, std::int64_t t) {
  std::int64_t d = 0;
  for (; d + 8 <= n; d += 8) {
    for (int half = 0; half < panel; half += 8) {
      const float* p = from + half * s + d;
      float* o = to + d * t + half;
      const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + s), c = _mm256_loadu_ps(p + 2 * s), e = _mm256_loadu_ps(p + 3 * s);
      const __m256 f = _mm256_loadu_ps(p + 4 * s), g = _mm256_loadu_ps(p + 5 * s), h = _mm256_loadu_ps(p + 6 * s),
                   i = _mm256_loadu_ps(p + 7 * s);
      const auto quads = [&](__m256 w, __m256 x, __m256 y, __m256 z, __m256& r0, __m256& r1, __m256& r2, __m256& r3) HEED_INLINE {
        const __m256 wx = _mm256_unpacklo_ps(w, x), WX = _mm256_unpackhi_ps(w, x), yz = _mm256_unpacklo_ps(y, z),
                     YZ = _mm256_unpackhi_ps(y, z);
        r0 = _mm256_shuffle_ps(wx, yz, 0x44), r1 = _mm256_shuffle_ps(wx, yz, 0xee);
        r2 = _mm256_shuffle_ps(WX, YZ, 0x44), r3 = _mm256_shuffle_ps(WX, YZ, 0xee);
      };
      __m256 l0, l1, l2, l3, h0, h1, h2, h3;
      quads(a, b, c, e, l0, l1, l2, l3);
      quads(f, g, h, i, h0, h1, h2, h3);
      _mm256_storeu_ps(o, _mm256_permute2f128_ps(l0, h0, 0x20));
      _mm256_storeu_ps(o + t, _mm256_permute2f128_ps(l1, h1, 0x20));
      _mm256_storeu_ps(o + 2 * t, _mm256_permute2f128_ps(l2, h2, 0x20));
      _mm256_storeu_ps(o + 3 * t, _mm256_permute2f128_ps(l3, h3, 0x20));
      _mm256_storeu_ps(o + 4 * t, _mm256_permute2f128_ps(l0, h0, 0x31));
      _mm256_storeu_ps(o + 5 * t, _mm256_permute2f128_ps(l1, h1, 0x31));
      _mm256_storeu_ps(o + 6 * t, _mm256_permute2f128_ps(l2, h2, 0x31));
      _mm256_storeu_ps(o + 7 * t, _mm256_permute2f128_ps(l3, h3, 0x31));
    }
  }
  for (; d < n; ++d)
    for (int i = 0; i < panel; ++i) to[d * t + i] = from[i * s + d];
}

void transpose(const float* from, std::int64_t s, std::int64_t n, float* to) { turn(from, s, n, to, panel); }

void interleave(const std::uint16_t* a, const std::uint16_t* b, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += 8) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)),
                  y = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm_unpacklo_epi16(x, y));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i + 4), _mm_unpackhi_epi16(x, y));
  }
}
