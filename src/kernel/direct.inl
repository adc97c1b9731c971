// SPDX-License-Identifier: Apache-2.0
// Products with keys and values where they lie, read once in their own type for up to four rows at a time.

template <Stored type>
inline V read(const void* p, std::int64_t i) {
  if constexpr (type == Stored::f32) return load(static_cast<const float*>(p) + i);
  if constexpr (type == Stored::bf16) return from_brain(static_cast<const std::uint16_t*>(p) + i);
  if constexpr (type == Stored::f16) return from_half(static_cast<const std::uint16_t*>(p) + i);
}
/// n < width numbers at i, then zeros.
template <Stored type>
inline V read_tail(const void* p, std::int64_t i, std::int64_t n) {
  constexpr std::size_t size = type == Stored::f32 ? 4 : 2;
  alignas(64) char padded[width * 4] = {};
  __builtin_memcpy(padded, static_cast<const char*>(p) + std::size_t(i) * size, std::size_t(n) * size);
  return read<type>(padded, 0);
}
template <Stored type>
inline const void* row_at(const void* p, std::int64_t elements) {
  return static_cast<const char*>(p) + elements * (type == Stored::f32 ? 4 : 2);
}

constexpr std::int64_t keys_ahead = 16;  ///< prefetched: 4 KiB of common rows

/// R rows x 4 keys. q is padded with zeros to whole vectors.
template <Stored type, int R>
__attribute__((noinline)) void score_rows(const float* q, std::int64_t ldq, const void* k, std::int64_t stride, std::int64_t depth,
                                          std::int64_t n, float* s, std::int64_t lds) {
  for (std::int64_t j = 0; j < n; j += 4) {
    const int keys = n - j < 4 ? int(n - j) : 4;
    const void *k0 = row_at<type>(k, j * stride), *k1 = row_at<type>(k, (keys > 1 ? j + 1 : j) * stride);
    const void *k2 = row_at<type>(k, (keys > 2 ? j + 2 : j) * stride), *k3 = row_at<type>(k, (keys > 3 ? j + 3 : j) * stride);
    V c[R][4];
    for (auto& row : c)
      for (V& x : row) x = zero();
    const std::int64_t ahead = keys_ahead * stride;
    const auto step = [&](std::int64_t d, V a, V b, V e, V f) HEED_INLINE {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const V x = load(q + r * ldq + d);
        c[r][0] = fma(x, a, c[r][0]);
        c[r][1] = fma(x, b, c[r][1]);
        c[r][2] = fma(x, e, c[r][2]);
        c[r][3] = fma(x, f, c[r][3]);
      }
    };
    std::int64_t d = 0;
    for (; d + width <= depth; d += width) {
      const void* rows[] = {k0, k1, k2, k3};
      for (const void* row : rows) __builtin_prefetch(row_at<type>(row, ahead + d));
      step(d, read<type>(k0, d), read<type>(k1, d), read<type>(k2, d), read<type>(k3, d));
    }
    if (const std::int64_t m = depth - d; m > 0)
      step(d, read_tail<type>(k0, d, m), read_tail<type>(k1, d, m), read_tail<type>(k2, d, m), read_tail<type>(k3, d, m));
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum_four(c[r][0], c[r][1], c[r][2], c[r][3], s + r * lds + j);
  }
}

/// R rows x N vectors of out.
template <Stored type, int R, int N>
__attribute__((noinline)) void value_rows(const float* p, std::int64_t ldp, const void* v, std::int64_t stride, std::int64_t n, float* out,
                                          std::int64_t ldo) {
  V c[R][N];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int e = 0; e < N; ++e) c[r][e] = load(out + r * ldo + e * width);
  for (std::int64_t j = 0; j < n; ++j) {
    const void* row = row_at<type>(v, j * stride);
    __builtin_prefetch(row_at<type>(row, keys_ahead * stride));
    __builtin_prefetch(row_at<type>(row, keys_ahead * stride + (N - 1) * width));
    V x[N];
#pragma GCC unroll 4
    for (int e = 0; e < N; ++e) x[e] = read<type>(row, e * width);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const V w = set1(p[r * ldp + j]);
#pragma GCC unroll 4
      for (int e = 0; e < N; ++e) c[r][e] = fma(w, x[e], c[r][e]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int e = 0; e < N; ++e) store(out + r * ldo + e * width, c[r][e]);
}
template <Stored type>
void value_tail(const float* p, std::int64_t ldp, const void* v, std::int64_t stride, std::int64_t n, float* out, std::int64_t ldo,
                int rows, std::int64_t m) {
  for (std::int64_t j = 0; j < n; ++j) {
    const V x = read_tail<type>(row_at<type>(v, j * stride), 0, m);
    for (int r = 0; r < rows; ++r) store(out + r * ldo, fma(set1(p[r * ldp + j]), x, load(out + r * ldo)));
  }
}

/// Rows by R, what is left by fewer.
template <Stored type, int R>
void score_all(const float* q, std::int64_t ldq, const void* k, std::int64_t stride, std::int64_t depth, std::int64_t n, float* s,
               std::int64_t lds, int rows) {
  for (; rows >= R; rows -= R, q += R * ldq, s += R * lds) score_rows<type, R>(q, ldq, k, stride, depth, n, s, lds);
  if constexpr (R > 1)
    if (rows > 0) score_all<type, R - 1>(q, ldq, k, stride, depth, n, s, lds, rows);
}
template <Stored type, int R>
void value_all(const float* p, std::int64_t ldp, const void* v, std::int64_t stride, std::int64_t size, std::int64_t n, float* out,
               std::int64_t ldo, int rows) {
  constexpr int wide = width == panel ? 4 : 2;
  for (; rows >= R; rows -= R, p += R * ldp, out += R * ldo) {
    std::int64_t e = 0;
    for (; e + wide * width <= size; e += wide * width) value_rows<type, R, wide>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo);
    for (; e + width <= size; e += width) value_rows<type, R, 1>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo);
    if (e < size) value_tail<type>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo, R, size - e);
  }
  if constexpr (R > 1)
    if (rows > 0) value_all<type, R - 1>(p, ldp, v, stride, size, n, out, ldo, rows);
}

void direct_score(const float* q, std::int64_t ldq, const void* k, Stored type, std::int64_t stride, std::int64_t depth, std::int64_t n,
                  float* s, std::int64_t lds, int rows) {
  if (type == Stored::f32) return score_all<Stored::f32, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows);
  if (type == Stored::bf16) return score_all<Stored::bf16, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows);
  score_all<Stored::f16, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows);
}
void direct_value(const float* p, std::int64_t ldp, const void* v, Stored type, std::int64_t stride, std::int64_t size, std::int64_t n,
                  float* out, std::int64_t ldo, int rows) {
  if (type == Stored::f32) return value_all<Stored::f32, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows);
  if (type == Stored::bf16) return value_all<Stored::bf16, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows);
  value_all<Stored::f16, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows);
}
