// SPDX-License-Identifier: Apache-2.0
// Sixteen floats: the vector words that every AVX-512 kernel is written in. No includes here: this is inside a namespace and a target
// region. vector_avx2.inl has the same words for eight.

using V = __m512;
constexpr int width = 16;

inline V zero() { return _mm512_setzero_ps(); }
inline V set1(float x) { return _mm512_set1_ps(x); }
inline V load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline V from_half(const std::uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline V from_brain(const std::uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}
/// Of the first n lanes; the others are 0, and memory behind them is not touched.
inline __mmask16 first(int n) { return __mmask16((1u << n) - 1); }
inline V load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline V keep_part(V x, int n) { return _mm512_maskz_mov_ps(first(n), x); }
inline void store_part(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }

inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V div(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V fms(V a, V b, V c) { return _mm512_fmsub_ps(a, b, c); }
/// The second where either is NaN.
inline V max(V a, V b) { return _mm512_max_ps(a, b); }
inline V min(V a, V b) { return _mm512_min_ps(a, b); }
inline V abs(V x) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x); }
inline V round(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// x * 2^n, n whole, where the exponent stays one of f32's.
inline V scale_by(V x, V n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
inline V copy_sign(V magnitude, V sign) {
  const V bit = _mm512_set1_ps(-0.0f);
  return _mm512_or_ps(_mm512_andnot_ps(bit, magnitude), _mm512_and_ps(bit, sign));
}
/// Keeps a value in a register, as it is; g++ 12 would fold its load into each use.
inline void pin(V& x) { asm("" : "+v"(x)); }
/// c += a b where c stays in its own register.
inline void accumulate(V& c, V a, V b) { asm("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }

/// The four columns of 16 rows of four, which four(row) loads.
template <class F>
inline __attribute__((always_inline)) void turn(F four, V* to) {
  const auto rows = [&](int i) HEED_INLINE {
    V x = _mm512_insertf32x4(_mm512_castps128_ps512(four(i)), four(i + 4), 1);
    return _mm512_insertf32x4(_mm512_insertf32x4(x, four(i + 8), 2), four(i + 12), 3);
  };
  const V a = rows(0), b = rows(1), c = rows(2), d = rows(3);
  const V ab = _mm512_unpacklo_ps(a, b), AB = _mm512_unpackhi_ps(a, b), cd = _mm512_unpacklo_ps(c, d), CD = _mm512_unpackhi_ps(c, d);
  to[0] = _mm512_shuffle_ps(ab, cd, 0x44), to[1] = _mm512_shuffle_ps(ab, cd, 0xee);
  to[2] = _mm512_shuffle_ps(AB, CD, 0x44), to[3] = _mm512_shuffle_ps(AB, CD, 0xee);
}
