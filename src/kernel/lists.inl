// SPDX-License-Identifier: Apache-2.0
// The loops over lists, written against a vector type V of `width` floats: included by lists_avx2.cpp and lists_avx512.cpp.

constexpr float infinity = __builtin_inff();

struct Bf16 { std::uint16_t bits; };
struct F16 { std::uint16_t bits; };

inline V load(const float* p) { return load_f32(p); }
inline V load(const Bf16* p) { return load_bf16(&p->bits); }
inline V load(const F16* p) { return load_f16(&p->bits); }

/// The first n < width elements, zeros after them; memory behind them is not touched.
inline V load_part(const float* p, int n) { return load_f32_part(p, n); }
template <class T>
inline V load_part(const T* p, int n) {
  T part[width] = {};
  __builtin_memcpy(part, p, std::size_t(n) * sizeof(T));
  return load(part);
}

/// Whole vectors of a row, or the last elements of it: the two ways a loop over lists reads.
struct Whole {
  template <class T>
  V operator()(const T* p) const { return load(p); }
  void put(float* p, V x) const { store(p, x); }
};
struct Part {
  int n;
  template <class T>
  V operator()(const T* p) const { return load_part(p, n); }
  void put(float* p, V x) const { store_part(p, x, n); }
};

template <class T>
inline const T* row(const Picked& rows, std::int64_t e) {
  return static_cast<const T*>(rows.rows) + (rows.index ? rows.index[e] : e) * rows.stride;
}

inline V leaky_of(V x, V slope) { return if_less(x, zero(), mul(x, slope), x); }

/// body(d, read) for every vector of a row of n elements.
template <class F>
inline void columns(std::int64_t n, F body) {
  std::int64_t d = 0;
  for (; d + width <= n; d += width) body(d, Whole{});
  if (d < n) body(d, Part{int(n - d)});
}

/// Four rows at a time, so that their sums are added across lanes together; the last rows of a list stand in for missing ones.
template <class Term>
inline void four_sums(std::int64_t n, float* s, float factor, bool adding, Term term) {
  for (std::int64_t e = 0; e < n; e += 4) {
    const int count = n - e < 4 ? int(n - e) : 4;
    V sum[4] = {zero(), zero(), zero(), zero()};
    const std::int64_t at[4] = {e, e + (count > 1 ? 1 : 0), e + (count > 2 ? 2 : 0), e + (count > 3 ? 3 : 0)};
    term(at, sum);
    float four[4];
    add_lanes(sum[0], sum[1], sum[2], sum[3], four);
    for (int i = 0; i < count; ++i) s[e + i] = adding ? s[e + i] + factor * four[i] : factor * four[i];
  }
}

template <class T>
void dot(const float* q, const Picked& rows, std::int64_t n, float factor, bool adding, float* s) {
  four_sums(rows.n, s, factor, adding, [&](const std::int64_t* at, V* sum) {
    const T *r0 = row<T>(rows, at[0]), *r1 = row<T>(rows, at[1]), *r2 = row<T>(rows, at[2]), *r3 = row<T>(rows, at[3]);
    columns(n, [&](std::int64_t d, auto read) {
      const V x = read(q + d);
      sum[0] = fma(x, read(r0 + d), sum[0]);
      sum[1] = fma(x, read(r1 + d), sum[1]);
      sum[2] = fma(x, read(r2 + d), sum[2]);
      sum[3] = fma(x, read(r3 + d), sum[3]);
    });
  });
}

/// Vectors [d, d + N) of the sum, kept in registers while the list passes; `read` reads the last of them.
template <class T, int N, class Read>
inline void add_columns(const float* w, const Picked& rows, std::int64_t d, float* out, Read read) {
  const Whole whole;
  V sum[N];
  for (int i = 0; i < N - 1; ++i) sum[i] = load(out + d + i * width);
  sum[N - 1] = read(out + d + (N - 1) * width);
  for (std::int64_t e = 0; e < rows.n; ++e) {
    if (w[e] == 0) continue;
    const T* r = row<T>(rows, e) + d;
    const V factor = set1(w[e]);
    for (int i = 0; i < N - 1; ++i) sum[i] = fma(factor, whole(r + i * width), sum[i]);
    sum[N - 1] = fma(factor, read(r + (N - 1) * width), sum[N - 1]);
  }
  for (int i = 0; i < N - 1; ++i) store(out + d + i * width, sum[i]);
  read.put(out + d + (N - 1) * width, sum[N - 1]);
}

template <class T>
void add(const float* w, const Picked& rows, std::int64_t n, float* out) {
  std::int64_t d = 0;
  for (; d + 4 * width <= n; d += 4 * width) add_columns<T, 4>(w, rows, d, out, Whole{});
  if (d + 2 * width <= n) add_columns<T, 2>(w, rows, d, out, Whole{}), d += 2 * width;
  if (d + width <= n) add_columns<T, 1>(w, rows, d, out, Whole{}), d += width;
  if (d < n) add_columns<T, 1>(w, rows, d, out, Part{int(n - d)});
}

template <class T>
void leaky_dot(const float* a, const float* x, const Picked& rows, const Picked& features, std::int64_t n, float slope, float* s) {
  const V by = set1(slope);
  four_sums(rows.n, s, 1, false, [&](const std::int64_t* at, V* sum) {
    columns(n, [&](std::int64_t d, auto read) {
      const V base = read(x + d), factor = read(a + d);
      for (int i = 0; i < 4; ++i) {
        V z = plus(base, read(row<T>(rows, at[i]) + d));
        if (features.rows) z = plus(z, read(row<float>(features, at[i]) + d));
        sum[i] = fma(factor, leaky_of(z, by), sum[i]);
      }
    });
  });
}

template <class T>
void leaky_add(const float* ds, const float* a, const float* x, const Picked& rows, const Picked& features, std::int64_t n, float slope,
               float* dx, float* da, float* df) {
  const V by = set1(slope), one = set1(1.0f);
  columns(n, [&](std::int64_t d, auto read) {
    const V base = read(x + d), factor = read(a + d);
    V sum_x = read(dx + d), sum_a = da ? read(da + d) : zero();
    for (std::int64_t e = 0; e < rows.n; ++e) {
      V g = zero();
      if (ds[e] != 0) {
        V z = plus(base, read(row<T>(rows, e) + d));
        if (features.rows) z = plus(z, read(row<float>(features, e) + d));
        const V s = set1(ds[e]);
        g = mul(mul(s, factor), if_less(zero(), z, one, by));
        sum_x = plus(sum_x, g);
        sum_a = fma(s, leaky_of(z, by), sum_a);
      }
      if (df) read.put(df + e * n + d, g);
    }
    read.put(dx + d, sum_x);
    if (da) read.put(da + d, sum_a);
  });
}

void gather(const float* from, std::int64_t stride, const std::int64_t* index, std::int64_t n, bool adding, float* to) {
  std::int64_t e = 0;
  if (index)
    for (; e + width <= n; e += width) {
      const V x = gather_of(from, stride, index + e);
      store(to + e, adding ? plus(load(to + e), x) : x);
    }
  for (; e < n; ++e) {
    const float x = from[(index ? index[e] : e) * stride];
    to[e] = adding ? to[e] + x : x;
  }
}

void leaky(float* x, std::int64_t n, float slope) {
  const V by = set1(slope);
  columns(n, [&](std::int64_t d, auto read) { read.put(x + d, leaky_of(read(x + d), by)); });
}

/// e^x for x <= 0: 2^n times a polynomial of degree 6 for 2^f, |f| <= 1/2 (relative error 2e-9).
inline V exp_of(V x) {
  const V y = mul(x, set1(1.44269504088896341f)), least = set1(-126.0f), bounded = max(least, y), n = round(bounded), f = minus(bounded, n);
  V p = set1(1.54614447e-4f);
  p = fma(p, f, set1(1.34004282e-3f));
  p = fma(p, f, set1(9.61805668e-3f));
  p = fma(p, f, set1(5.55032723e-2f));
  p = fma(p, f, set1(2.40226509e-1f));
  p = fma(p, f, set1(6.93147207e-1f));
  p = fma(p, f, set1(1.0f));
  return if_less(y, least, zero(), scale_by(p, n));
}

void softmax(float* x, std::int64_t n, float* max_to, float* sum_to) {
  float lanes[width], top = -infinity, total = 0;
  const std::int64_t whole = n - n % width;
  V most = set1(-infinity), sum = zero();
  for (std::int64_t e = 0; e < whole; e += width) most = max(load(x + e), most);
  store(lanes, most);
  for (const float y : lanes) top = y > top ? y : top;
  for (std::int64_t e = whole; e < n; ++e) top = x[e] > top ? x[e] : top;
  const V reference = set1(top == -infinity ? 0.0f : top);
  columns(n, [&](std::int64_t d, auto read) {
    const V y = exp_of(minus(read(x + d), reference));
    read.put(x + d, y);
    if (d < whole) sum = plus(sum, y);
  });
  store(lanes, sum);
  for (const float y : lanes) total += y;
  for (std::int64_t e = whole; e < n; ++e) total += x[e];
  const V inverse = set1(total == 0 ? 0.0f : 1.0f / total);
  columns(n, [&](std::int64_t d, auto read) { read.put(x + d, mul(read(x + d), inverse)); });
  *max_to = top;
  *sum_to = total;
}

template <class T>
constexpr RowLoops row_loops() {
  return {dot<T>, add<T>, leaky_dot<T>, leaky_add<T>};
}
constexpr ListTable make_table() { return {row_loops<float>(), row_loops<Bf16>(), row_loops<F16>(), gather, leaky, softmax}; }
