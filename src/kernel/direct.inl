// SPDX-License-Identifier: Apache-2.0
// Products with keys and values where they lie, each vector of them read once for up to direct_rows rows. Where memory sets the pace
// the next rows of the stream must be on their way: for each line that is used, one further on is asked for.

template <Stored type>
constexpr std::int64_t size_of_stored = type == Stored::f32 ? 4 : 2;
template <Stored type>
inline V read(const void* p, std::int64_t i) {
  if constexpr (type == Stored::f32) return load(static_cast<const float*>(p) + i);
  if constexpr (type == Stored::bf16) return from_brain(static_cast<const std::uint16_t*>(p) + i);
  if constexpr (type == Stored::f16) return from_half(static_cast<const std::uint16_t*>(p) + i);
}
/// n < width numbers at i, then zeros.
template <Stored type>
inline V read_tail(const void* p, std::int64_t i, std::int64_t n) {
  constexpr std::size_t size = std::size_t(size_of_stored<type>);
  alignas(64) char padded[width * 4] = {};
  __builtin_memcpy(padded, static_cast<const char*>(p) + std::size_t(i) * size, std::size_t(n) * size);
  return read<type>(padded, 0);
}
template <Stored type>
inline const void* row_at(const void* p, std::int64_t elements) {
  return static_cast<const char*>(p) + elements * size_of_stored<type>;
}

/// Keys at a time: accumulators, R vectors of queries and one of keys must fit the registers.
template <int R>
constexpr int keys_of = width == panel || R <= 3 ? 4 : 2;

/// R rows, keys_of<R> keys at a time. q is padded with zeros to whole vectors.
template <Stored type, int R>
__attribute__((noinline)) void score_rows(const float* q, std::int64_t ldq, const void* k, std::int64_t stride, std::int64_t depth,
                                          std::int64_t n, float* s, std::int64_t lds, Ahead next) {
  constexpr int K = keys_of<R>;
  constexpr std::int64_t line = 64 / size_of_stored<type>;
  static_assert(R * K % 4 == 0);
  for (std::int64_t j = 0; j < n; j += K) {
    const void* key[K];
#pragma GCC unroll 4
    for (int i = 0; i < K; ++i) key[i] = row_at<type>(k, (j + i < n ? j + i : j) * stride);
    const char* early = next.at + j * next.step;
    V c[R][K];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int i = 0; i < K; ++i) c[r][i] = zero();
#pragma GCC unroll 4
    for (int i = 0; i < K; ++i) {  // key by key: a stream
      const auto step = [&](std::int64_t d, V y) HEED_INLINE {
        pin(y);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) accumulate(c[r][i], load(q + r * ldq + d), y);
      };
      std::int64_t d = 0;
      for (; d + line <= depth; d += line) {
        ask_for(early + i * next.step + d * size_of_stored<type>);
#pragma GCC unroll 4
        for (std::int64_t e = d; e < d + line; e += width) step(e, read<type>(key[i], e));
      }
      if (d < depth) ask_for(early + i * next.step + d * size_of_stored<type>);
      for (; d + width <= depth; d += width) step(d, read<type>(key[i], d));
      if (const std::int64_t m = depth - d; m > 0) step(d, read_tail<type>(key[i], d, m));
    }
    if constexpr (K == 4) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum_four(c[r][0], c[r][1], c[r][2], c[r][3], s + r * lds + j);
    } else {
#pragma GCC unroll 4
      for (int r = 0; r < R; r += 2) {
        float sums[4];
        sum_four(c[r][0], c[r][1], c[r + 1][0], c[r + 1][1], sums);
        __builtin_memcpy(s + r * lds + j, sums, 2 * sizeof(float));
        __builtin_memcpy(s + (r + 1) * lds + j, sums + 2, 2 * sizeof(float));
      }
    }
  }
}

/// R rows x N vectors of out.
template <Stored type, int R, int N>
__attribute__((noinline)) void value_rows(const float* p, std::int64_t ldp, const void* v, std::int64_t stride, std::int64_t n, float* out,
                                          std::int64_t ldo, Ahead next) {
  V c[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int e = 0; e < N; ++e) c[r][e] = load(out + r * ldo + e * width);
  for (std::int64_t j = 0; j < n; ++j) {
    const void* row = row_at<type>(v, j * stride);
#pragma GCC unroll 4
    for (std::int64_t b = 0; b < N * width * size_of_stored<type>; b += 64) ask_for(next.at + j * next.step + b);
    V x[N];
#pragma GCC unroll 4
    for (int e = 0; e < N; ++e) {
      x[e] = read<type>(row, e * width);
      pin(x[e]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      V w = set1(p[r * ldp + j]);
      pin(w);
#pragma GCC unroll 4
      for (int e = 0; e < N; ++e) accumulate(c[r][e], w, x[e]);
    }
  }
#pragma GCC unroll 8
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

/// Rows by R, what is left by fewer; the first ones ask for what comes next.
template <Stored type, int R>
void score_all(const float* q, std::int64_t ldq, const void* k, std::int64_t stride, std::int64_t depth, std::int64_t n, float* s,
               std::int64_t lds, int rows, Ahead next) {
  for (; rows >= R; rows -= R, q += R * ldq, s += R * lds) {
    score_rows<type, R>(q, ldq, k, stride, depth, n, s, lds, next);
    next = {static_cast<const char*>(k), 0};
  }
  if constexpr (R > 1)
    if (rows > 0) score_all<type, R - 1>(q, ldq, k, stride, depth, n, s, lds, rows, next);
}
template <Stored type, int R>
void value_all(const float* p, std::int64_t ldp, const void* v, std::int64_t stride, std::int64_t size, std::int64_t n, float* out,
               std::int64_t ldo, int rows, Ahead next) {
  constexpr int wide = width == panel || R <= 2 ? 4 : 2;
  for (; rows >= R; rows -= R, p += R * ldp, out += R * ldo) {
    std::int64_t e = 0;
    const auto at = [&] { return Ahead{next.at + (next.step ? e * size_of_stored<type> : 0), next.step}; };
    for (; e + wide * width <= size; e += wide * width)
      value_rows<type, R, wide>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo, at());
    for (; e + width <= size; e += width) value_rows<type, R, 1>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo, at());
    if (e < size) value_tail<type>(p, ldp, row_at<type>(v, e), stride, n, out + e, ldo, R, size - e);
    next = {static_cast<const char*>(v), 0};
  }
  if constexpr (R > 1)
    if (rows > 0) value_all<type, R - 1>(p, ldp, v, stride, size, n, out, ldo, rows, next);
}

void direct_score(const float* q, std::int64_t ldq, const void* k, Stored type, std::int64_t stride, std::int64_t depth, std::int64_t n,
                  float* s, std::int64_t lds, int rows, Ahead next) {
  if (type == Stored::f32) return score_all<Stored::f32, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows, next);
  if (type == Stored::bf16) return score_all<Stored::bf16, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows, next);
  score_all<Stored::f16, direct_rows>(q, ldq, k, stride, depth, n, s, lds, rows, next);
}
void direct_value(const float* p, std::int64_t ldp, const void* v, Stored type, std::int64_t stride, std::int64_t size, std::int64_t n,
                  float* out, std::int64_t ldo, int rows, Ahead next) {
  if (type == Stored::f32) return value_all<Stored::f32, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows, next);
  if (type == Stored::bf16) return value_all<Stored::bf16, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows, next);
  value_all<Stored::f16, direct_rows>(p, ldp, v, stride, size, n, out, ldo, rows, next);
}
