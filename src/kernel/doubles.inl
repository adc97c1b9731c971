// SPDX-License-Identifier: Apache-2.0
// The loop of doubles.h; `vector_bytes` is the including file's. No includes here: this is inside a namespace.

typedef double D __attribute__((vector_size(vector_bytes)));
constexpr int lanes = vector_bytes / 8;

inline D load(const double* from) {
  D x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

template <int rows>
void strip(const double* a, std::int64_t row, std::int64_t column, const double* b, std::int64_t depth, double* c) {
  for (int at = 0; at < doubles_panel; at += 2 * lanes) {
    D sums[rows][2] = {};
    for (std::int64_t p = 0; p < depth; ++p) {
      const D first = load(b + p * doubles_panel + at), second = load(b + p * doubles_panel + at + lanes);
#pragma GCC unroll 8
      for (int r = 0; r < rows; ++r) {
        const double x = a[r * row + p * column];
        sums[r][0] += x * first, sums[r][1] += x * second;
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) __builtin_memcpy(c + r * doubles_panel + at, sums[r], sizeof sums[r]);
  }
}

void product(const double* a, std::int64_t row, std::int64_t column, int rows, const double* b, std::int64_t depth, double* c) {
  if (rows == doubles_rows) return strip<doubles_rows>(a, row, column, b, depth, c);
  for (int r = 0; r < rows; ++r) strip<1>(a + r * row, row, column, b, depth, c + r * doubles_panel);
}
