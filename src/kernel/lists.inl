// SPDX-License-Identifier: Apache-2.0
// The loops over lists, written against a vector type V of `width` floats: included by lists_avx2.cpp and lists_avx512.cpp.

constexpr float infinity = __builtin_inff();

struct Bf16 {
  std::uint16_t bits;
};
struct F16 {
  std::uint16_t bits;
};

inline V load(const Bf16* p) { return from_brain(&p->bits); }
inline V load(const F16* p) { return from_half(&p->bits); }

/// The first n < width elements, zeros after them; memory behind them is not touched.
template <class T>
inline V load_part(const T* p, int n) {
  T part[width] = {};
  __builtin_memcpy(part, p, std::size_t(n) * sizeof(T));
  return load(part);
}

/// Whole vectors of a row, or the last elements of it: the two ways a loop over lists reads.
struct Whole {
  template <class T>
  V operator()(const T* p) const {
    return load(p);
  }
  void put(float* p, V x) const { store(p, x); }
};
struct Part {
  int n;
  template <class T>
  V operator()(const T* p) const {
    return load_part(p, n);
  }
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

/// Four rows at a time, so that their sums are added across lanes together; the last row of a list stands in for missing ones.
template <class Term>
inline void four_sums(std::int64_t n, float* s, float factor, bool adding, Term term) {
  for (std::int64_t e = 0; e < n; e += 4) {
    V sum[4] = {zero(), zero(), zero(), zero()};
    const std::int64_t last = n - 1, at[4] = {e, e + 1 < n ? e + 1 : last, e + 2 < n ? e + 2 : last, e + 3 < n ? e + 3 : last};
    term(at, sum);
    const __m128 four = _mm_mul_ps(add_lanes(sum[0], sum[1], sum[2], sum[3]), _mm_set1_ps(factor));
    _mm_storeu_ps(s + e, adding ? _mm_add_ps(_mm_loadu_ps(s + e), four) : four);
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
        V z = add(base, read(row<T>(rows, at[i]) + d));
        if (features.rows) z = add(z, read(row<float>(features, at[i]) + d));
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
        V z = add(base, read(row<T>(rows, e) + d));
        if (features.rows) z = add(z, read(row<float>(features, e) + d));
        const V s = set1(ds[e]);
        g = mul(mul(s, factor), if_less(zero(), z, one, by));
        sum_x = add(sum_x, g);
        sum_a = fma(s, leaky_of(z, by), sum_a);
      }
      if (df) read.put(df + e * n + d, g);
    }
    read.put(dx + d, sum_x);
    if (da) read.put(da + d, sum_a);
  });
}

void gather(const float* from, std::int64_t stride, const std::int64_t* index, std::int64_t n, bool adding, float* to) {
  for (std::int64_t e = 0; index && e < n; e += width) {
    const V x = n - e >= width ? gather_of(from, stride, index + e) : gather_part(from, stride, index + e, int(n - e));
    store(to + e, adding ? add(load(to + e), x) : x);
  }
  for (std::int64_t e = 0; !index && e < n; ++e) to[e] = adding ? to[e] + from[e * stride] : from[e * stride];
}

void leaky(float* x, std::int64_t n, float slope) {
  const V by = set1(slope);
  for (std::int64_t e = 0; e < n; e += width) store(x + e, leaky_of(load(x + e), by));
}

void softmax(float* x, std::int64_t n, float* max_to, float* sum_to) {
  const std::int64_t end = (n + width - 1) / width * width;
  for (std::int64_t e = n; e < end; ++e) x[e] = -infinity;
  V most = set1(-infinity), sum = zero();
  for (std::int64_t e = 0; e < end; e += width) most = max(load(x + e), most);
  const float top = max_lane(most);
  const V reference = set1(top == -infinity ? 0.0f : top);
  for (std::int64_t e = 0; e < end; e += width) {
    const V y = exp_of(sub(load(x + e), reference));
    store(x + e, y);
    sum = add(sum, y);
  }
  const float total = _mm_cvtss_f32(add_lanes(sum, sum, sum, sum));
  const V inverse = set1(total == 0 ? 0.0f : 1.0f / total);
  for (std::int64_t e = 0; e < end; e += width) store(x + e, mul(load(x + e), inverse));
  *max_to = top;
  *sum_to = total;
}

void softmax_back(const float* p, float* g, std::int64_t n, float shift) {
  V sum = zero();
  for (std::int64_t e = 0; e < n; e += width) {
    const V x = n - e >= width ? load(p + e) : load_part(p + e, int(n - e));
    sum = add(sum, if_zero(x, zero(), mul(x, load(g + e))));
  }
  const V m = set1(_mm_cvtss_f32(add_lanes(sum, sum, sum, sum)) - shift);
  for (std::int64_t e = 0; e < n; e += width) {
    const V x = load(p + e);
    store(g + e, if_zero(x, zero(), mul(x, sub(load(g + e), m))));
  }
}

template <class T>
constexpr RowLoops row_loops() {
  return {dot<T>, add<T>, leaky_dot<T>, leaky_add<T>};
}
constexpr ListTable make_table() { return {row_loops<float>(), row_loops<Bf16>(), row_loops<F16>(), gather, leaky, softmax, softmax_back}; }
