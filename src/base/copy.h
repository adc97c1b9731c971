// SPDX-License-Identifier: Apache-2.0
// Short copies and fills without calls.
#pragma once
#include <cstdint>
#include <cstring>

namespace heed::base {

/// Copies few bytes without a call, many by memcpy.
inline void copy_bytes(char* to, const char* from, std::size_t n) {
  if (n > 256) {
    std::memcpy(to, from, n);
    return;
  }
  if (n < 16) {
    if (n >= 8) {
      std::memcpy(to, from, 8), std::memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
      std::memcpy(to, from, 4), std::memcpy(to + n - 4, from + n - 4, 4);
    } else {
      for (std::size_t i = 0; i < n; ++i) to[i] = from[i];
    }
    return;
  }
  for (std::size_t i = 0; i + 16 < n; i += 16) std::memcpy(to + i, from + i, 16);
  std::memcpy(to + n - 16, from + n - 16, 16);
}

/// p[0, n) = value, by vectors.
inline void fill(float* p, std::int64_t n, float value) {
  typedef float Four __attribute__((vector_size(16)));
  if (value == 0 && n > 64) return void(std::memset(p, 0, std::size_t(n) * sizeof(float)));
  const Four all = Four{} + value;
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) std::memcpy(p + i, &all, sizeof all);
  for (; i < n; ++i) p[i] = value;
}

}  // namespace heed::base
