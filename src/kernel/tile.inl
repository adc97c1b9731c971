// SPDX-License-Identifier: Apache-2.0
// The loops of kernel::Table over the vector operations of the including file. No includes here: this is inside a namespace.

constexpr float infinity = __builtin_inff();
constexpr int panel_vectors = panel / width;

/// N vectors of one row of C.
template <int N>
struct Strip;
template <>
struct Strip<1> {
  V x0 = zero();
  void load_from(const float* p, std::int64_t) { x0 = load(p); pin(x0); }
  void step(float a, const Strip& b) { accumulate(x0, set1(a), b.x0); }
  void put(float* c, bool adding) const { store(c, adding ? add(load(c), x0) : x0); }
};
template <>
struct Strip<2> {
  V x0 = zero(), x1 = zero();
  void load_from(const float* p, std::int64_t) { x0 = load(p); x1 = load(p + width); pin(x0); pin(x1); }
  void step(float a, const Strip& b) {
    const V w = set1(a);
    accumulate(x0, w, b.x0);
    accumulate(x1, w, b.x1);
  }
  void put(float* c, bool adding) const {
    store(c, adding ? add(load(c), x0) : x0);
    store(c + width, adding ? add(load(c + width), x1) : x1);
  }
};
/// Four panels, one vector each.
template <>
struct Strip<4> {
  V x0 = zero(), x1 = zero(), x2 = zero(), x3 = zero();
  void load_from(const float* p, std::int64_t stride) {
    x0 = load(p); x1 = load(p + stride); x2 = load(p + 2 * stride); x3 = load(p + 3 * stride);
    pin(x0); pin(x1); pin(x2); pin(x3);
  }
  void step(float a, const Strip& b) {
    const V w = set1(a);
    accumulate(x0, w, b.x0);
    accumulate(x1, w, b.x1);
    accumulate(x2, w, b.x2);
    accumulate(x3, w, b.x3);
  }
  void put(float* c, bool adding) const {
    store(c, adding ? add(load(c), x0) : x0);
    store(c + width, adding ? add(load(c + width), x1) : x1);
    store(c + 2 * width, adding ? add(load(c + 2 * width), x2) : x2);
    store(c + 3 * width, adding ? add(load(c + 3 * width), x3) : x3);
  }
};

/// R rows x N vectors of C (+)= A B over `depth`; a row of B is 16 floats. Not inlined: the accumulators must stay in registers.
template <int R, int N>
__attribute__((noinline)) void micro(const float* a, std::int64_t lda, const float* b, std::int64_t stride, std::int64_t depth, float* c,
                                     std::int64_t ldc, bool adding) {
  Strip<N> r0, r1, r2, r3, r4, r5, w;
  const float* end = b + depth * panel;
  for (; b != end; b += panel, ++a) {
    w.load_from(b, stride);
    r0.step(a[0], w);
    if constexpr (R > 1) r1.step(a[lda], w);
    if constexpr (R > 2) r2.step(a[2 * lda], w);
    if constexpr (R > 3) r3.step(a[3 * lda], w);
    if constexpr (R > 4) r4.step(a[4 * lda], w);
    if constexpr (R > 5) r5.step(a[5 * lda], w);
  }
  r0.put(c, adding);
  if constexpr (R > 1) r1.put(c + ldc, adding);
  if constexpr (R > 2) r2.put(c + 2 * ldc, adding);
  if constexpr (R > 3) r3.put(c + 3 * ldc, adding);
  if constexpr (R > 4) r4.put(c + 4 * ldc, adding);
  if constexpr (R > 5) r5.put(c + 5 * ldc, adding);
}

template <int N>
void product(int rows, const float* a, std::int64_t lda, const float* b, std::int64_t stride, std::int64_t depth, float* c,
             std::int64_t ldc, bool adding) {
  switch (rows) {
    case 1: return micro<1, N>(a, lda, b, stride, depth, c, ldc, adding);
    case 2: return micro<2, N>(a, lda, b, stride, depth, c, ldc, adding);
    case 3: return micro<3, N>(a, lda, b, stride, depth, c, ldc, adding);
    case 4: return micro<4, N>(a, lda, b, stride, depth, c, ldc, adding);
    case 5: return micro<5, N>(a, lda, b, stride, depth, c, ldc, adding);
    default: return micro<6, N>(a, lda, b, stride, depth, c, ldc, adding);
  }
}

inline int smaller(int a, int b) { return a < b ? a : b; }

/// Panels outside, so that one stays in the first cache while the groups of rows pass.
void score(const float* q, std::int64_t ldq, const float* k, std::int64_t depth, float* s, std::int64_t lds, int rows, const int* first,
           const int* last) {
  const int groups = (rows + group - 1) / group;
  int panels = 0;
  for (int g = 0; g < groups; ++g)
    if (first[g] < last[g] && (last[g] + panel - 1) / panel > panels) panels = (last[g] + panel - 1) / panel;
  const std::int64_t stride = depth * panel;
  for (int at = 0; at < panels; at += wide_panels) {
    for (int g = 0; g < groups; ++g) {
      if (first[g] >= last[g]) continue;
      const int begin = first[g] / panel, end = smaller((last[g] + panel - 1) / panel, at + wide_panels);
      const int size = smaller(rows - g * group, group);
      const float* a = q + g * group * ldq;
      float* c = s + g * group * lds;
      if (begin <= at && end == at + wide_panels) {
        product<wide_panels * panel_vectors>(size, a, ldq, k + at * stride, stride, depth, c + at * panel, lds, false);
      } else {
        for (int i = at > begin ? at : begin; i < end; ++i)
          product<panel_vectors>(size, a, ldq, k + i * stride, stride, depth, c + i * panel, lds, false);
      }
    }
  }
}

void value(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows, int panels,
           const int* first, const int* last) {
  const int groups = (rows + group - 1) / group;
  int at = 0;
  const auto pass = [&](auto vectors) {
    for (int g = 0; g < groups; ++g) {
      if (first[g] >= last[g]) continue;
      product<decltype(vectors)::value>(smaller(rows - g * group, group), p + g * group * ldp + first[g], ldp,
                                        v + at * stride + first[g] * panel, stride, last[g] - first[g], out + g * group * ldo + at * panel,
                                        ldo, true);
    }
  };
  for (; at + wide_panels <= panels; at += wide_panels) pass(std::integral_constant<int, wide_panels * panel_vectors>{});
  for (; at < panels; ++at) pass(std::integral_constant<int, panel_vectors>{});
}

/// 2^x for x <= 0: x = n + f, |f| <= 1/2, a polynomial of degree 6 for 2^f (relative error 2e-9), n added to the exponent.
inline V exp2_of(V x) {
  const V least = set1(-126.0f), bounded = max(least, x), n = round(bounded), f = sub(bounded, n);
  V y = set1(1.54614447e-4f);
  y = fma(y, f, set1(1.34004282e-3f));
  y = fma(y, f, set1(9.61805668e-3f));
  y = fma(y, f, set1(5.55032723e-2f));
  y = fma(y, f, set1(2.40226509e-1f));
  y = fma(y, f, set1(6.93147207e-1f));
  y = fma(y, f, set1(1.0f));
  return if_less(x, least, zero(), scale_by(y, n));
}
inline V exp_of(V x) { return exp2_of(mul(x, set1(1.44269504088896341f))); }

/// x = f(x) for n numbers; the tail goes through a padded buffer of the same operations.
template <class F>
inline void map(float* x, std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(x + i, f(load(x + i)));
  if (i < n) {
    float tail[width] = {};
    __builtin_memcpy(tail, x + i, std::size_t(n - i) * sizeof(float));
    store(tail, f(load(tail)));
    __builtin_memcpy(x + i, tail, std::size_t(n - i) * sizeof(float));
  }
}

float max_of(const float* x, std::int64_t n) {
  V m0 = set1(-infinity), m1 = m0;
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    m0 = max(load(x + i), m0);
    m1 = max(load(x + i + width), m1);
  }
  float lanes[width], best = -infinity;
  store(lanes, max(m1, m0));
  for (float y : lanes) best = y > best ? y : best;
  for (; i < n; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

float exp2_sum(float* x, std::int64_t n, float reference) {
  const V r = set1(reference);
  V s0 = zero(), s1 = zero();
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    const V a = exp2_of(sub(load(x + i), r)), b = exp2_of(sub(load(x + i + width), r));
    s0 = add(s0, a);
    s1 = add(s1, b);
    store(x + i, a);
    store(x + i + width, b);
  }
  float lanes[width], sum = 0;
  store(lanes, add(s0, s1));
  for (float y : lanes) sum += y;
  map(x + i, n - i, [r](V y) { return exp2_of(sub(y, r)); });
  for (; i < n; ++i) sum += x[i];
  return sum;
}

void scale(float* x, std::int64_t n, float factor) {
  const V f = set1(factor);
  map(x, n, [f](V y) { return mul(y, f); });
}

/// tanh(y) = (1 - e^-2|y|) / (1 + e^-2|y|) with y's sign, y (1 - y^2/3 + 2 y^4/15 - 17 y^6/315 + 62 y^8/2835) near 0.
void softcap(float* x, std::int64_t n, float cap) {
  const V c = set1(cap), inverse = set1(1.0f / cap), one = set1(1.0f);
  map(x, n, [&](V s) {
    const V y = mul(s, inverse), down = negative_abs(y), e = exp_of(add(down, down)), t = mul(y, y);
    const V far = copy_sign(div(sub(one, e), add(one, e)), y);
    V near = set1(62.0f / 2835);
    near = fma(near, t, set1(-17.0f / 315));
    near = fma(near, t, set1(2.0f / 15));
    near = fma(near, t, set1(-1.0f / 3));
    near = mul(y, fma(near, t, one));
    return mul(c, if_less(t, set1(0.0625f), near, far));
  });
}

void sigmoid(float* x, std::int64_t n) {
  const V one = set1(1.0f);
  map(x, n, [&](V s) {
    const V e = exp_of(negative_abs(s));
    return div(if_less(s, zero(), e, one), add(one, e));
  });
}

void relu(float* x, std::int64_t n, float factor) {
  const V f = set1(factor);
  map(x, n, [f](V y) { return mul(max(zero(), y), f); });
}

/// 8 x 8 at a time: pairs, quads, halves.
void transpose(const float* from, std::int64_t n, float* to) {
  std::int64_t d = 0;
  for (; d + 8 <= n; d += 8) {
    for (int half = 0; half < panel; half += 8) {
      const float* p = from + half * n + d;
      float* o = to + d * panel + half;
      const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + n), c = _mm256_loadu_ps(p + 2 * n), e = _mm256_loadu_ps(p + 3 * n);
      const __m256 f = _mm256_loadu_ps(p + 4 * n), g = _mm256_loadu_ps(p + 5 * n), h = _mm256_loadu_ps(p + 6 * n), i = _mm256_loadu_ps(p + 7 * n);
      const auto quads = [&](__m256 w, __m256 x, __m256 y, __m256 z, __m256& r0, __m256& r1, __m256& r2, __m256& r3) {
        const __m256 wx = _mm256_unpacklo_ps(w, x), WX = _mm256_unpackhi_ps(w, x), yz = _mm256_unpacklo_ps(y, z), YZ = _mm256_unpackhi_ps(y, z);
        r0 = _mm256_shuffle_ps(wx, yz, 0x44), r1 = _mm256_shuffle_ps(wx, yz, 0xee);
        r2 = _mm256_shuffle_ps(WX, YZ, 0x44), r3 = _mm256_shuffle_ps(WX, YZ, 0xee);
      };
      __m256 l0, l1, l2, l3, h0, h1, h2, h3;
      quads(a, b, c, e, l0, l1, l2, l3);
      quads(f, g, h, i, h0, h1, h2, h3);
      _mm256_storeu_ps(o, _mm256_permute2f128_ps(l0, h0, 0x20));
      _mm256_storeu_ps(o + panel, _mm256_permute2f128_ps(l1, h1, 0x20));
      _mm256_storeu_ps(o + 2 * panel, _mm256_permute2f128_ps(l2, h2, 0x20));
      _mm256_storeu_ps(o + 3 * panel, _mm256_permute2f128_ps(l3, h3, 0x20));
      _mm256_storeu_ps(o + 4 * panel, _mm256_permute2f128_ps(l0, h0, 0x31));
      _mm256_storeu_ps(o + 5 * panel, _mm256_permute2f128_ps(l1, h1, 0x31));
      _mm256_storeu_ps(o + 6 * panel, _mm256_permute2f128_ps(l2, h2, 0x31));
      _mm256_storeu_ps(o + 7 * panel, _mm256_permute2f128_ps(l3, h3, 0x31));
    }
  }
  for (; d < n; ++d)
    for (int i = 0; i < panel; ++i) to[d * panel + i] = from[i * n + d];
}

/// 0 * x is NaN for what is not finite.
bool finite(const float* x, std::int64_t n) {
  V sum = zero();
  for (std::int64_t i = 0; i < n; i += width) sum = fma(zero(), load(x + i), sum);
  float lanes[width], total = 0;
  store(lanes, sum);
  for (float y : lanes) total += y;
  return total == 0;
}

void widen_f16(const std::uint16_t* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, from_half(from + i));
  if (i < n) {
    std::uint16_t tail[width] = {};
    float wide[width];
    __builtin_memcpy(tail, from + i, std::size_t(n - i) * sizeof(std::uint16_t));
    store(wide, from_half(tail));
    __builtin_memcpy(to + i, wide, std::size_t(n - i) * sizeof(float));
  }
}

void widen_bf16(const std::uint16_t* from, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint32_t bits = std::uint32_t(from[i]) << 16;
    __builtin_memcpy(to + i, &bits, sizeof bits);
  }
}

constexpr Table make_table(const char* name) {
  return {name, score, value, max_of, exp2_sum, scale, softcap, sigmoid, relu, transpose, finite, widen_f16, widen_bf16};
}
