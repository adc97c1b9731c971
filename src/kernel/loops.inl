// SPDX-License-Identifier: Apache-2.0
// The loops of kernel::Table over the vector operations of the including file. No includes here: this is inside a namespace.

constexpr float infinity = __builtin_inff();

inline V exp_of(V x) { return exp2_of<5>(mul(x, set1(1.44269504088896341f))); }

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

void max_lanes(const float* x, std::int64_t n, float* lanes) {
  V m[panel_vectors];
  for (V& y : m) y = set1(-infinity);
  for (std::int64_t i = 0; i < n; i += panel)
    for (int j = 0; j < panel_vectors; ++j) m[j] = max(load(x + i + j * width), m[j]);
  for (int j = 0; j < panel_vectors; ++j) store(lanes + j * width, m[j]);
}

float raise(float* lanes, const float* tile, float factor, float reference) {
  const V limit = set1(reference + 8), f = set1(factor);
  bool over = false;
  for (int j = 0; j < panel_vectors; ++j) {
    const V m = max(load(tile + j * width), load(lanes + j * width));
    store(lanes + j * width, m);
    over |= any_less(limit, mul(m, f));
  }
  if (!over) return reference;
  float top = -infinity;
  for (int j = 0; j < panel; ++j) top = lanes[j] > top ? lanes[j] : top;
  return __builtin_ceilf(top * factor);
}

/// Two vectors at a time, each with a sum of its own.
template <int degree>
void exp2_sum(const float* x, std::int64_t n, float factor, float reference, float* sums, float* to) {
  const V f = set1(factor), r = set1(reference);
  V s[panel_vectors];
  for (int j = 0; j < panel_vectors; ++j) s[j] = load(sums + j * width);
  for (std::int64_t i = 0; i < n; i += panel)
    for (int j = 0; j < panel_vectors; ++j) {
      const V y = exp2_of<degree>(fms(load(x + i + j * width), f, r));
      s[j] = add(s[j], y);
      store(to + i + j * width, y);
    }
  for (int j = 0; j < panel_vectors; ++j) store(sums + j * width, s[j]);
}

void copy(const float* x, std::int64_t n, float* to) {
  if (to != x) __builtin_memmove(to, x, std::size_t(n) * sizeof(float));
}

void scale(float* x, std::int64_t n, float factor) {
  const V f = set1(factor);
  map(x, n, [f](V y) { return mul(y, f); });
}

void add_row(float* x, const float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(x + i, add(load(x + i), load(y + i)));
  for (; i < n; ++i) x[i] += y[i];
}

void alibi(float* x, std::int64_t n, float slope, float distance) {
  const V s = set1(slope), step = set1(float(width));
  float counted[width];
  for (int i = 0; i < width; ++i) counted[i] = float(i) - distance;
  V d = load(counted);
  map(x, n, [&](V y) {
    const V result = fma(s, negative_abs(d), y);
    d = add(d, step);
    return result;
  });
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

/// g = f(p, g) for n numbers.
template <class F>
inline void map_two(const float* p, float* g, std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(g + i, f(load(p + i), load(g + i)));
  if (i < n) {
    float a[width] = {}, b[width] = {};
    __builtin_memcpy(a, p + i, std::size_t(n - i) * sizeof(float));
    __builtin_memcpy(b, g + i, std::size_t(n - i) * sizeof(float));
    store(b, f(load(a), load(b)));
    __builtin_memcpy(g + i, b, std::size_t(n - i) * sizeof(float));
  }
}

/// A NaN of a key that a row does not see must not reach it.
void softmax_back(const float* p, float* g, std::int64_t n, float delta) {
  const V d = set1(delta), least = set1(__FLT_DENORM_MIN__);
  map_two(p, g, n, [&](V w, V x) { return if_less(w, least, zero(), mul(w, sub(x, d))); });
}

void softmax_back_whole(float* p, float* g, std::int64_t n, float delta) {
  const V d = set1(delta), least = set1(__FLT_DENORM_MIN__);
  V moved = zero(), total = zero();
  map_two(p, g, n, [&](V w, V x) {
    const V left = if_less(w, least, zero(), sub(x, d));
    moved = fma(w, left, moved), total = add(total, w);
    return left;
  });
  float m[width], t[width];
  store(m, moved), store(t, total);
  for (int i = 1; i < width; ++i) m[0] += m[i], t[0] += t[i];
  if (t[0] > 0) scale(p, n, 1 / t[0]);
  softmax_back(p, g, n, t[0] > 0 ? m[0] / t[0] : 0.0f);
}

void sigmoid_back(const float* p, float* g, std::int64_t n) {
  const V least = set1(__FLT_DENORM_MIN__);
  map_two(p, g, n, [&](V w, V x) { return if_less(w, least, zero(), mul(mul(w, sub(set1(1.0f), w)), x)); });
}

void relu_back(const float* p, float* g, std::int64_t n, float factor) {
  const V f = set1(factor), least = set1(__FLT_DENORM_MIN__);
  map_two(p, g, n, [&](V w, V x) { return if_less(w, least, zero(), mul(f, x)); });
}

void softcap_back(const float* x, float* g, std::int64_t n, float cap) {
  const V inverse = set1(1.0f / cap);
  map_two(x, g, n, [&](V s, V y) {
    const V t = mul(s, inverse);
    return sub(y, mul(y, mul(t, t)));
  });
}

/// 0 * x is NaN for what is not finite.
bool finite(const float* x, std::int64_t n) {
  constexpr int chains = panel / width > 2 ? panel / width : 2;
  V part[chains];
  for (V& sum : part) sum = zero();
  std::int64_t i = 0;
  for (; i + chains * width <= n; i += chains * width)
    for (int j = 0; j < chains; ++j) part[j] = fma(zero(), load(x + i + j * width), part[j]);
  for (; i < n; i += width) part[0] = fma(zero(), load(x + i), part[0]);
  V sum = part[0];
  for (int j = 1; j < chains; ++j) sum = add(sum, part[j]);
  float lanes[width], total = 0;
  store(lanes, sum);
  for (float y : lanes) total += y;
  return total == 0;
}

/// to[i] = f(from + i) for n numbers of either type, `width` at a time; the tail through padded buffers.
template <class From, class To, class F>
inline void convert(const From* from, std::int64_t n, To* to, F f) {
  std::int64_t i = 0;
  for (; i + width <= n; i += width) f(from + i, to + i);
  if (i < n) {
    From tail[width] = {};
    To wide[width];
    __builtin_memcpy(tail, from + i, std::size_t(n - i) * sizeof(From));
    f(tail, wide);
    __builtin_memcpy(to + i, wide, std::size_t(n - i) * sizeof(To));
  }
}

void widen_f16(const std::uint16_t* from, std::int64_t n, float* to) {
  convert(from, n, to, [](const std::uint16_t* a, float* b) { store(b, from_half(a)); });
}
void widen_bf16(const std::uint16_t* from, std::int64_t n, float* to) {
  convert(from, n, to, [](const std::uint16_t* a, float* b) { store(b, from_brain(a)); });
}
void narrow_f16(const float* from, std::int64_t n, std::uint16_t* to) {
  convert(from, n, to, [](const float* a, std::uint16_t* b) { to_half(b, load(a)); });
}
void narrow_bf16(const float* from, std::int64_t n, std::uint16_t* to) {
  convert(from, n, to, [](const float* a, std::uint16_t* b) { to_brain(b, load(a)); });
}

constexpr Products make_strict(const char* text) { return {text, 1, 1, micro_rows, score<Fma>, value<Fma>, exp2_sum<5>, copy}; }
constexpr Products make_brief(const char* text) { return {text, 1, 1, micro_rows, score<Fma>, value<Fma>, exp2_sum<3>, copy}; }

constexpr Table make_table(const char* name, const Products* strict, const Products* brief) {
  return {name,         strict,
          brief,        max_lanes,
          raise,        scale,
          add_row,      alibi,
          mask_row,     softcap,
          sigmoid,      relu,
          softmax_back, softmax_back_whole,
          sigmoid_back, relu_back,
          softcap_back, transpose,
          turn,         interleave,
          finite,       widen_f16,
          widen_bf16,   narrow_f16,
          narrow_bf16,  {direct_score, direct_value}};
}
