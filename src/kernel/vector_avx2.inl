// SPDX-License-Identifier: Apache-2.0
// Eight floats: the vector words that every AVX2 kernel is written in. No includes here: this is inside a namespace and a target
// region. vector_avx512.inl has the same words for sixteen.

using V = __m256;
constexpr int width = 8;

inline V zero() { return _mm256_setzero_ps(); }
inline V set1(float x) { return _mm256_set1_ps(x); }
inline V load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, V x) { _mm256_storeu_ps(p, x); }
inline V from_half(const std::uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline V from_brain(const std::uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16));
}
/// Of the first n lanes; the others are 0, and memory behind them is not touched.
inline __m256i first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
inline V load_part(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline V keep_part(V x, int n) { return _mm256_and_ps(x, _mm256_castsi256_ps(first(n))); }
inline void store_part(float* p, V x, int n) { _mm256_maskstore_ps(p, first(n), x); }

inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm256_mul_ps(a, b); }
inline V div(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm256_fmsub_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm256_max_ps(a, b); }
inline V min(V a, V b) { return _mm256_min_ps(a, b); }
inline V abs(V x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole, where the exponent stays one of f32's.
inline V scale_by(V x, V n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm256_set1_ps(-0.0f);
  return _mm256_or_ps(_mm256_andnot_ps(bit, magnitude), _mm256_and_ps(bit, sign));
}
#if defined(__x86_64__)
/// Keeps a value in a register, as it is; g++ 12 would fold its load into each use.
inline void pin(V& x) { asm("" : "+x"(x)); }
/// c += a b where c stays in its own register.
inline void accumulate(V& c, V a, V b) { asm("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
#else
inline void pin(V&) {}
inline void accumulate(V& c, V a, V b) { c = fma(a, b, c); }
#endif

/// The four columns of 8 rows of four, which four(row) loads.
template <class F>
inline __attribute__((always_inline)) void turn(F four, V* to) {
  const auto rows = [&](int i) HEED_INLINE { return _mm256_insertf128_ps(_mm256_castps128_ps256(four(i)), four(i + 4), 1); };
  const V a = rows(0), b = rows(1), c = rows(2), d = rows(3);
  const V ab = _mm256_unpacklo_ps(a, b), AB = _mm256_unpackhi_ps(a, b), cd = _mm256_unpacklo_ps(c, d), CD = _mm256_unpackhi_ps(c, d);
  to[0] = _mm256_shuffle_ps(ab, cd, 0x44), to[1] = _mm256_shuffle_ps(ab, cd, 0xee);
  to[2] = _mm256_shuffle_ps(AB, CD, 0x44), to[3] = _mm256_shuffle_ps(AB, CD, 0xee);
}
