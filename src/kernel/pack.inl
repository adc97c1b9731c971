// SPDX-License-Identifier: Apache-2.0
/// 16 rows of n numbers, `ld` apart, to [n][16]: 8 x 8 at a time, by pairs, quads, halves.
inline void pack(const float* from, std::int64_t ld, std::int64_t n, float* to) {
  std::int64_t d = 0;
  const auto quads = [](__m256 w, __m256 x, __m256 y, __m256 z, __m256* r) __attribute__((always_inline)) {
    const __m256 wx = _mm256_unpacklo_ps(w, x), WX = _mm256_unpackhi_ps(w, x), yz = _mm256_unpacklo_ps(y, z), YZ = _mm256_unpackhi_ps(y, z);
    r[0] = _mm256_shuffle_ps(wx, yz, 0x44), r[1] = _mm256_shuffle_ps(wx, yz, 0xee);
    r[2] = _mm256_shuffle_ps(WX, YZ, 0x44), r[3] = _mm256_shuffle_ps(WX, YZ, 0xee);
  };
  for (; d + 8 <= n; d += 8) {
    for (int half = 0; half < 16; half += 8) {
      const float* p = from + half * ld + d;
      float* o = to + d * 16 + half;
      const auto row = [&](int i) __attribute__((always_inline)) { return _mm256_loadu_ps(p + i * ld); };
      __m256 low[4], high[4];
      quads(row(0), row(1), row(2), row(3), low);
      quads(row(4), row(5), row(6), row(7), high);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        _mm256_storeu_ps(o + 16 * i, _mm256_permute2f128_ps(low[i], high[i], 0x20));
        _mm256_storeu_ps(o + 16 * (i + 4), _mm256_permute2f128_ps(low[i], high[i], 0x31));
      }
    }
  }
  for (; d < n; ++d)
    for (int i = 0; i < 16; ++i) to[d * 16 + i] = from[i * ld + d];
}
