// SPDX-License-Identifier: Apache-2.0
// Runs of many lanes moved: the loops of maps.h that compute nothing. No includes here: this is inside a namespace.

/// body(the lane's places) for each lane.
template <class F>
inline __attribute__((always_inline)) void each_lane(const char* const* from, std::int64_t at, char* const* to, std::int64_t there,
                                                     std::int64_t lanes, F body) {
  for (std::int64_t l = 0; l < lanes; ++l) body(from[l] + at, to[l] + there);
}
template <class T>
inline __attribute__((always_inline)) void move(const char* from, char* to) {
  T value;
  __builtin_memcpy(&value, from, sizeof value), __builtin_memcpy(to, &value, sizeof value);
}
/// n bytes, at least one T and at most two.
template <class T>
inline __attribute__((always_inline)) void move_ends(const char* from, char* to, std::int64_t n) {
  move<T>(from, to), move<T>(from + n - sizeof(T), to + n - sizeof(T));
}

void copy(const char* const* from, std::int64_t at, char* const* to, std::int64_t there, std::int64_t n, std::int64_t lanes) {
  const auto each = [&](auto body) HEED_INLINE { each_lane(from, at, to, there, lanes, body); };
  if (n > 2048) {
    each([n](const char* f, char* t) HEED_INLINE { __builtin_memcpy(t, f, std::size_t(n)); });
  } else if (n >= 32) {
    each([n](const char* f, char* t) HEED_INLINE {
      for (std::int64_t i = 0; i < n - 32; i += 32) move<__m256i>(f + i, t + i);
      move<__m256i>(f + n - 32, t + n - 32);
    });
  } else if (n >= 16) {
    each([n](const char* f, char* t) HEED_INLINE { move_ends<__m128i>(f, t, n); });
  } else if (n >= 8) {
    each([n](const char* f, char* t) HEED_INLINE { move_ends<std::uint64_t>(f, t, n); });
  } else if (n >= 4) {
    each([n](const char* f, char* t) HEED_INLINE { move_ends<std::uint32_t>(f, t, n); });
  } else {
    each([n](const char* f, char* t) HEED_INLINE {
      for (std::int64_t i = 0; i < n; ++i) t[i] = f[i];
    });
  }
}

void turn(const char* const* from, std::int64_t at, char* const* to, std::int64_t there, std::int64_t n, std::int64_t lanes) {
  const auto each = [&](auto body) HEED_INLINE { each_lane(from, 4 * at, to, 4 * there, lanes, body); };
  if (n >= 8) {
    const __m256i back = _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    const auto eight = [=](const char* f, char* t, std::int64_t i) HEED_INLINE {
      const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(f - 4 * (i + 7)));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(t + 4 * i), _mm256_permutevar8x32_epi32(x, back));
    };
    each([=](const char* f, char* t) HEED_INLINE {
      for (std::int64_t i = 0; i < n - 8; i += 8) eight(f, t, i);
      eight(f, t, n - 8);
    });
  } else if (n == 2) {
    each([](const char* f, char* t) HEED_INLINE {
      std::uint64_t pair;
      __builtin_memcpy(&pair, f - 4, sizeof pair);
      pair = pair << 32 | pair >> 32;
      __builtin_memcpy(t, &pair, sizeof pair);
    });
  } else {
    each([n](const char* f, char* t) HEED_INLINE {
      for (std::int64_t i = 0; i < n; ++i) move<std::uint32_t>(f - 4 * i, t + 4 * i);
    });
  }
}

void spread(const char* const* from, std::int64_t at, char* const* to, std::int64_t there, std::int64_t n, std::int64_t lanes) {
  const auto each = [&](auto body) HEED_INLINE { each_lane(from, 4 * at, to, 4 * there, lanes, body); };
  const auto all = [](const char* f) HEED_INLINE {
    float value;
    __builtin_memcpy(&value, f, sizeof value);
    return _mm256_set1_ps(value);
  };
  if (n >= 8) {
    each([=](const char* f, char* t) HEED_INLINE {
      auto* const p = reinterpret_cast<float*>(t);
      const __m256 x = all(f);
      for (std::int64_t i = 0; i < n - 8; i += 8) _mm256_storeu_ps(p + i, x);
      _mm256_storeu_ps(p + n - 8, x);
    });
  } else if (n == 2) {
    each([=](const char* f, char* t)
             HEED_INLINE { _mm_storel_epi64(reinterpret_cast<__m128i*>(t), _mm256_castsi256_si128(_mm256_castps_si256(all(f)))); });
  } else {
    each([n](const char* f, char* t) HEED_INLINE {
      for (std::int64_t i = 0; i < n; ++i) move<std::uint32_t>(f, t + 4 * i);
    });
  }
}
