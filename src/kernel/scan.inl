// SPDX-License-Identifier: Apache-2.0
// The loops of kernel::ScanTable over the vector operations of the including file. No includes here: this is inside a namespace.

constexpr int vectors = 16 / width;  ///< of a panel

/// Vectors I to N of one row; named members, since g++ 12 keeps arrays of vectors on the stack.
template <int N, int I = 0>
struct Vectors {
  static std::int64_t at(std::int64_t panel) { return I / vectors * panel + I % vectors * width; }
  void clear() { x = zero(), rest.clear(); }
  void read(const float* p, std::int64_t panel) { x = load(p + at(panel)), pin(x), rest.read(p, panel); }
  void put(float* p, std::int64_t panel, bool adding) const {
    store(p + at(panel), adding ? add(load(p + at(panel)), x) : x), rest.put(p, panel, adding);
  }
  void write(float* p, std::int64_t panel) const { store(p + at(panel), x), rest.write(p, panel); }
  void add_product(V a, const Vectors& b) { accumulate(x, a, b.x), rest.add_product(a, b.rest); }
  void multiply_by(V a) { x = mul(x, a), rest.multiply_by(a); }
  V x;
  Vectors<N, I + 1> rest;
};
template <int N>
struct Vectors<N, N> {
  void clear() {}
  void read(const float*, std::int64_t) {}
  void put(float*, std::int64_t, bool) const {}
  void write(float*, std::int64_t) const {}
  void add_product(V, const Vectors&) {}
  void multiply_by(V) {}
};
/// N panels of one row.
template <int N>
using Strip = Vectors<N * vectors>;

/// Not inlined: the accumulators must stay in registers.
template <int R, int N>
__attribute__((noinline)) void block(std::int64_t depth, Left a, Panels<const float> b, Panels<float> c, bool adding) {
  Strip<N> r0, r1, r2, r3, r4, r5, w;
  r0.clear(), r1.clear(), r2.clear(), r3.clear(), r4.clear(), r5.clear();
  const float* p = a.data;
  const float* q = b.data;
  for (std::int64_t i = 0; i < depth; ++i, p += a.step, q += b.row) {
    w.read(q, b.panel);
    r0.add_product(set1(p[0]), w);
    if constexpr (R > 1) r1.add_product(set1(p[a.row]), w);
    if constexpr (R > 2) r2.add_product(set1(p[2 * a.row]), w);
    if constexpr (R > 3) r3.add_product(set1(p[3 * a.row]), w);
    if constexpr (R > 4) r4.add_product(set1(p[4 * a.row]), w);
    if constexpr (R > 5) r5.add_product(set1(p[5 * a.row]), w);
  }
  r0.put(c.data, c.panel, adding);
  if constexpr (R > 1) r1.put(c.data + c.row, c.panel, adding);
  if constexpr (R > 2) r2.put(c.data + 2 * c.row, c.panel, adding);
  if constexpr (R > 3) r3.put(c.data + 3 * c.row, c.panel, adding);
  if constexpr (R > 4) r4.put(c.data + 4 * c.row, c.panel, adding);
  if constexpr (R > 5) r5.put(c.data + 5 * c.row, c.panel, adding);
}

template <int N>
void rows_of(int rows, std::int64_t depth, Left a, Panels<const float> b, Panels<float> c, bool adding) {
  for (; rows >= 6; rows -= 6, a.data += 6 * a.row, c.data += 6 * c.row) block<6, N>(depth, a, b, c, adding);
  switch (rows) {
    case 1:
      return block<1, N>(depth, a, b, c, adding);
    case 2:
      return block<2, N>(depth, a, b, c, adding);
    case 3:
      return block<3, N>(depth, a, b, c, adding);
    case 4:
      return block<4, N>(depth, a, b, c, adding);
    case 5:
      return block<5, N>(depth, a, b, c, adding);
    default:
      return;
  }
}

/// The widest blocks outside, so that their part of b stays in the first cache while the rows pass.
void product(int rows, int panels, std::int64_t depth, Left a, Panels<const float> b, Panels<float> c, bool adding) {
  const auto pass = [&](auto wide) {
    for (; panels >= wide; panels -= wide, b.data += wide * b.panel, c.data += wide * c.panel)
      rows_of<decltype(wide)::value>(rows, depth, a, b, c, adding);
  };
  if constexpr (width == 16) {
    pass(std::integral_constant<int, 4>{});
    pass(std::integral_constant<int, 2>{});
  }
  pass(std::integral_constant<int, 1>{});
}

template <int N>
void recall_of(const float* s, std::int64_t row, std::int64_t depth, const float* w, const float* k, float* p) {
  Strip<N> sum, x;
  sum.clear();
  for (std::int64_t d = 0; d < depth; ++d, s += row) {
    x.read(s, 16);
    sum.add_product(set1(k[d] * w[d]), x);
  }
  sum.write(p, 16);
}

void recall(const float* s, std::int64_t row, std::int64_t depth, int panels, const float* w, const float* k, float* p) {
  for (; panels >= 4; panels -= 4, s += 64, p += 64) recall_of<4>(s, row, depth, w, k, p);
  for (; panels >= 1; --panels, s += 16, p += 16) recall_of<1>(s, row, depth, w, k, p);
}

template <int N, bool Exclusive>
void step_of(const float* from, std::int64_t from_row, float* to, std::int64_t to_row, std::int64_t depth, const float* w, const float* k,
             const float* q, const float* u, float* o) {
  Strip<N> sum, x, add;
  sum.clear();
  add.read(u, 16);
  for (std::int64_t d = 0; d < depth; ++d, from += from_row, to += to_row) {
    x.read(from, 16);
    x.multiply_by(set1(w[d]));
    if constexpr (Exclusive) sum.add_product(set1(q[d]), x);
    x.add_product(set1(k[d]), add);
    if constexpr (!Exclusive) sum.add_product(set1(q[d]), x);
    x.write(to, 16);
  }
  sum.write(o, 16);
}

void step(const float* from, std::int64_t from_row, float* to, std::int64_t to_row, std::int64_t depth, int panels, const float* w,
          const float* k, const float* q, const float* u, float* o, bool exclusive) {
  const auto pass = [&](auto wide) {
    constexpr int n = decltype(wide)::value;
    for (; panels >= n; panels -= n, from += 16 * n, to += 16 * n, u += 16 * n, o += 16 * n)
      exclusive ? step_of<n, true>(from, from_row, to, to_row, depth, w, k, q, u, o)
                : step_of<n, false>(from, from_row, to, to_row, depth, w, k, q, u, o);
  };
  if constexpr (width == 16) pass(std::integral_constant<int, 4>{});
  pass(std::integral_constant<int, 2>{});
  pass(std::integral_constant<int, 1>{});
}

void multiply(const float* x, const float* y, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += width) store(to + i, mul(load(x + i), load(y + i)));
}

void scale(const float* x, float factor, std::int64_t n, float* to) {
  const V f = set1(factor);
  for (std::int64_t i = 0; i < n; i += width) store(to + i, mul(load(x + i), f));
}

void add_scaled(const float* x, float factor, std::int64_t n, float* to) {
  const V f = set1(factor);
  std::int64_t i = 0;
  for (; i + width <= n; i += width) store(to + i, fma(load(x + i), f, load(to + i)));
  for (; i < n; ++i) to[i] += x[i] * factor;
}

void add_product(const float* x, const float* y, float factor, std::int64_t n, float* to) {
  const V f = set1(factor);
  for (std::int64_t i = 0; i < n; i += width) store(to + i, fma(mul(load(x + i), load(y + i)), f, load(to + i)));
}

void exp(const float* x, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += width) store(to + i, exp_of(load(x + i)));
}

bool add_small(const float* x, const float* y, float limit, std::int64_t n, float* to) {
  V worst = zero();
  for (std::int64_t i = 0; i < n; i += width) {
    const V sum = add(load(x + i), load(y + i));
    store(to + i, sum);
    worst = max(abs(sum), worst);     // keeps a NaN of `worst`
    worst = fma(zero(), sum, worst);  // makes one of a NaN or infinity in `sum`
  }
  float lanes[width];
  store(lanes, worst);
  bool small = true;
  for (float z : lanes) small &= z <= limit;
  return small;
}

float dot(const float* x, const float* y, std::int64_t n) {
  V sum = zero();
  for (std::int64_t i = 0; i < n; i += width) sum = fma(load(x + i), load(y + i), sum);
  float lanes[width], total = 0;
  store(lanes, sum);
  for (float z : lanes) total += z;
  return total;
}

constexpr ScanTable make_table() { return {product, recall, step, multiply, scale, add_scaled, add_product, exp, add_small, dot}; }
