// SPDX-License-Identifier: Apache-2.0
// The direct products over bf16 where it lies, two products a lane: a row of keys is a row of words already; values of two keys are
// interleaved in registers. `Op` multiplies words; mix_low and mix_high make words of two rows of 32 bf16, whose channels come in the
// order of split (join undoes it).

/// Bytes of a row as words, then zeros.
inline V read_words(const char* p, std::int64_t bytes) {
  if (bytes >= 64) return load(reinterpret_cast<const float*>(p));
  alignas(64) char padded[64] = {};
  __builtin_memcpy(padded, p, std::size_t(bytes));
  return load(reinterpret_cast<const float*>(padded));
}

/// R rows, four keys at a time; `bytes` of a key.
template <class Op, int R>
__attribute__((noinline)) void pair_score_rows(const float* q, std::int64_t ldq, const char* k, std::int64_t stride, std::int64_t bytes,
                                               std::int64_t n, float* s, std::int64_t lds, Ahead next) {
  for (std::int64_t j = 0; j < n; j += 4) {
    const char* key[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) key[i] = k + (j + i < n ? j + i : j) * stride;
    const char* early = next.at + j * next.step;
    V c[R][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) c[r][i] = zero();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {  // key by key: a stream
      const auto step = [&](std::int64_t b, V y) HEED_INLINE {
        pin(y);
        ask_for(early + i * next.step + b);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) Op::step(c[r][i], load(q + r * ldq + b / 4), y);
      };
      std::int64_t b = 0;
      for (; b + 64 <= bytes; b += 64) step(b, load(reinterpret_cast<const float*>(key[i] + b)));
      if (b < bytes) step(b, read_words(key[i] + b, bytes - b));
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum_four(c[r][0], c[r][1], c[r][2], c[r][3], s + r * lds + j);
  }
}

/// R rows x N times 32 channels, of which `bytes` are there; n keys, pairs of weights at p.
template <class Op, int R, int N>
__attribute__((noinline)) void pair_value_rows(const float* p, std::int64_t ldp, const char* v, std::int64_t stride, std::int64_t bytes,
                                               std::int64_t n, float* out, std::int64_t ldo, Ahead next) {
  V c[R][2 * N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int e = 0; e < N; ++e) split(load(out + r * ldo + e * 32), load(out + r * ldo + e * 32 + 16), c[r][2 * e], c[r][2 * e + 1]);
  const auto step = [&](std::int64_t j, const auto& read_value) HEED_INLINE {
    V x[2 * N];
#pragma GCC unroll 2
    for (int e = 0; e < N; ++e) {
      const V a = read_value(v + j * stride, e), b = j + 1 < n ? read_value(v + (j + 1) * stride, e) : zero();
      ask_for(next.at + j * next.step + 64 * e);
      ask_for(next.at + (j + 1) * next.step + 64 * e);
      x[2 * e] = mix_low(a, b), x[2 * e + 1] = mix_high(a, b);
      pin(x[2 * e]);
      pin(x[2 * e + 1]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      V w = set1(p[r * ldp + j / 2]);
      pin(w);
#pragma GCC unroll 4
      for (int e = 0; e < 2 * N; ++e) Op::step(c[r][e], w, x[e]);
    }
  };
  if (bytes >= 64 * N)
    for (std::int64_t j = 0; j < n; j += 2)
      step(j, [](const char* row, int e) HEED_INLINE { return load(reinterpret_cast<const float*>(row + 64 * e)); });
  else
    for (std::int64_t j = 0; j < n; j += 2)
      step(j, [&](const char* row, int e) HEED_INLINE { return read_words(row + 64 * e, bytes - 64 * e); });
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int e = 0; e < N; ++e) {
      V low, high;
      join(c[r][2 * e], c[r][2 * e + 1], low, high);
      store(out + r * ldo + e * 32, low);
      store(out + r * ldo + e * 32 + 16, high);
    }
}

template <class Op, int R>
void pair_score(const float* q, std::int64_t ldq, const char* k, std::int64_t stride, std::int64_t bytes, std::int64_t n, float* s,
                std::int64_t lds, int rows, Ahead next) {
  for (; rows >= R; rows -= R, q += R * ldq, s += R * lds) {
    pair_score_rows<Op, R>(q, ldq, k, stride, bytes, n, s, lds, next);
    next = {k, 0};
  }
  if constexpr (R > 1)
    if (rows > 0) pair_score<Op, R - 1>(q, ldq, k, stride, bytes, n, s, lds, rows, next);
}
template <class Op, int R>
void pair_value(const float* p, std::int64_t ldp, const char* v, std::int64_t stride, std::int64_t bytes, std::int64_t n, float* out,
                std::int64_t ldo, int rows, Ahead next) {
  for (; rows >= R; rows -= R, p += R * ldp, out += R * ldo) {
    std::int64_t b = 0;
    const auto at = [&] { return Ahead{next.at + (next.step ? b : 0), next.step}; };
    for (; b + 128 <= bytes; b += 128) pair_value_rows<Op, R, 2>(p, ldp, v + b, stride, 128, n, out + b / 2, ldo, at());
    for (; b + 64 <= bytes; b += 64) pair_value_rows<Op, R, 1>(p, ldp, v + b, stride, 64, n, out + b / 2, ldo, at());
    if (b < bytes) {  // rows of out end before 32 channels do
      const std::size_t floats = std::size_t(bytes - b) / 2;
      float part[R][32] = {};
      for (int r = 0; r < R; ++r) __builtin_memcpy(part[r], out + r * ldo + b / 2, floats * sizeof(float));
      pair_value_rows<Op, R, 1>(p, ldp, v + b, stride, bytes - b, n, part[0], 32, at());
      for (int r = 0; r < R; ++r) __builtin_memcpy(out + r * ldo + b / 2, part[r], floats * sizeof(float));
    }
    next = {v, 0};
  }
  if constexpr (R > 1)
    if (rows > 0) pair_value<Op, R - 1>(p, ldp, v, stride, bytes, n, out, ldo, rows, next);
}

template <class Op>
void direct_pair_score(const float* q, std::int64_t ldq, const void* k, Stored, std::int64_t stride, std::int64_t depth, std::int64_t n,
                       float* s, std::int64_t lds, int rows, Ahead next) {
  pair_score<Op, direct_rows>(q, ldq, static_cast<const char*>(k), 2 * stride, 2 * depth, n, s, lds, rows, next);
}
template <class Op>
void direct_pair_value(const float* p, std::int64_t ldp, const void* v, Stored, std::int64_t stride, std::int64_t width, std::int64_t n,
                       float* out, std::int64_t ldo, int rows, Ahead next) {
  pair_value<Op, direct_rows>(p, ldp, static_cast<const char*>(v), 2 * stride, 2 * width, n, out, ldo, rows, next);
}
