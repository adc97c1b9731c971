// SPDX-License-Identifier: Apache-2.0
// Weights as pairs of bf16, by VCVTNE2PS2BF16. No includes here: this is inside a namespace and a target region.

inline void put_pairs(float* to, V a, V b) {
  const __m512bh both = _mm512_cvtne2ps_pbh(b, a);
  __builtin_memcpy(to, &both, sizeof both);
}
inline void put_pairs(float* to, V a) {
  const __m256bh one = _mm512_cvtneps_pbh(a);
  __builtin_memcpy(to, &one, sizeof one);
}

void exp2_pairs(const float* x, std::int64_t n, float factor, float reference, float* sums, float* to) {
  const V f = set1(factor), r = set1(reference);
  V s0 = load(sums), s1 = zero();
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width, to += width) {
    const V a = exp2_of<3>(fms(load(x + i), f, r)), b = exp2_of<3>(fms(load(x + i + width), f, r));
    s0 = add(s0, a);
    s1 = add(s1, b);
    put_pairs(to, a, b);
  }
  if (i < n) {
    const V a = exp2_of<3>(fms(load(x + i), f, r));
    s0 = add(s0, a);
    put_pairs(to, a);
  }
  store(sums, add(s0, s1));
}

void narrow_pairs(const float* x, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += width, to += width / 2) put_pairs(to, load(x + i));
}
