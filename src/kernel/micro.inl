// SPDX-License-Identifier: Apache-2.0
// Products over packed panels with the vector operations of the including file: R rows x N vectors in registers, one word of
// A against N vectors of B a step. `Op` multiplies words: struct { static constexpr int pair; static void step(V& c, V a, V b); }.

/// N vectors of one row of C.
template <int N>
struct Strip;
template <>
struct Strip<1> {
  V x0 = zero();
  void load_from(const float* p, std::int64_t) {
    x0 = load(p);
    pin(x0);
  }
  template <class Op>
  void step(const float* a, const Strip& b) {
    Op::step(x0, set1(*a), b.x0);
  }
  void put(float* c) const { store(c, x0); }
  void add_to(float* c) const { store(c, add(load(c), x0)); }
  void raise(float* lanes) const { store(lanes, max(x0, load(lanes))); }
};
template <>
struct Strip<2> {
  V x0 = zero(), x1 = zero();
  void load_from(const float* p, std::int64_t stride) {
    const std::int64_t next = width == panel ? stride : width;
    x0 = load(p);
    x1 = load(p + next);
    pin(x0);
    pin(x1);
  }
  template <class Op>
  void step(const float* a, const Strip& b) {
    const V w = set1(*a);
    Op::step(x0, w, b.x0);
    Op::step(x1, w, b.x1);
  }
  void put(float* c) const {
    store(c, x0);
    store(c + width, x1);
  }
  void add_to(float* c) const {
    store(c, add(load(c), x0));
    store(c + width, add(load(c + width), x1));
  }
  void raise(float* lanes) const {
    if constexpr (width == panel) {
      store(lanes, max(x1, max(x0, load(lanes))));
    } else {
      store(lanes, max(x0, load(lanes)));
      store(lanes + width, max(x1, load(lanes + width)));
    }
  }
};
/// Four panels, one vector each.
template <>
struct Strip<4> {
  V x0 = zero(), x1 = zero(), x2 = zero(), x3 = zero();
  void load_from(const float* p, std::int64_t stride) {
    x0 = load(p);
    x1 = load(p + stride);
    x2 = load(p + 2 * stride);
    x3 = load(p + 3 * stride);
    pin(x0);
    pin(x1);
    pin(x2);
    pin(x3);
  }
  template <class Op>
  void step(const float* a, const Strip& b) {
    const V w = set1(*a);
    Op::step(x0, w, b.x0);
    Op::step(x1, w, b.x1);
    Op::step(x2, w, b.x2);
    Op::step(x3, w, b.x3);
  }
  void put(float* c) const {
    store(c, x0);
    store(c + width, x1);
    store(c + 2 * width, x2);
    store(c + 3 * width, x3);
  }
  void add_to(float* c) const {
    store(c, add(load(c), x0));
    store(c + width, add(load(c + width), x1));
    store(c + 2 * width, add(load(c + 2 * width), x2));
    store(c + 3 * width, add(load(c + 3 * width), x3));
  }
  void raise(float* lanes) const { store(lanes, max(max(x3, max(x2, load(lanes))), max(x1, x0))); }
};

/// Scores also raise the lanes of their rows; values are added to C. Not inlined: the accumulators must stay in registers.
template <class Op, int R, int N, bool scores>
__attribute__((noinline)) void micro(const float* a, std::int64_t lda, const float* b, std::int64_t stride, std::int64_t depth, float* c,
                                     std::int64_t ldc, float* lanes) {
  Strip<N> r0, r1, r2, r3, r4, r5, w;
  const float* end = b + depth * panel;
  for (; b != end; b += panel, ++a) {
    w.load_from(b, stride);
    r0.template step<Op>(a, w);
    if constexpr (R > 1) r1.template step<Op>(a + lda, w);
    if constexpr (R > 2) r2.template step<Op>(a + 2 * lda, w);
    if constexpr (R > 3) r3.template step<Op>(a + 3 * lda, w);
    if constexpr (R > 4) r4.template step<Op>(a + 4 * lda, w);
    if constexpr (R > 5) r5.template step<Op>(a + 5 * lda, w);
  }
  const auto finish = [&](int r, const Strip<N>& x) HEED_INLINE {
    if constexpr (scores) {
      x.put(c + r * ldc);
      x.raise(lanes + r * panel);
    } else {
      x.add_to(c + r * ldc);
    }
  };
  finish(0, r0);
  if constexpr (R > 1) finish(1, r1);
  if constexpr (R > 2) finish(2, r2);
  if constexpr (R > 3) finish(3, r3);
  if constexpr (R > 4) finish(4, r4);
  if constexpr (R > 5) finish(5, r5);
}

constexpr int micro_rows = 6;

template <class Op, int N, bool scores>
void product(int rows, const float* a, std::int64_t lda, const float* b, std::int64_t stride, std::int64_t depth, float* c,
             std::int64_t ldc, float* lanes) {
  switch (rows) {
    case 1:
      return micro<Op, 1, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
    case 2:
      return micro<Op, 2, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
    case 3:
      return micro<Op, 3, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
    case 4:
      return micro<Op, 4, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
    case 5:
      return micro<Op, 5, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
    default:
      return micro<Op, 6, N, scores>(a, lda, b, stride, depth, c, ldc, lanes);
  }
}

inline int smaller(int a, int b) { return a < b ? a : b; }

/// Wide strips of panels outside, so that they stay in the first cache while the groups of rows pass.
template <class Op>
void score(const float* q, std::int64_t ldq, const float* k, std::int64_t depth, float* s, std::int64_t lds, int rows, const int* first,
           const int* last, float* lanes) {
  const int groups = (rows + micro_rows - 1) / micro_rows;
  int panels = 0;
  for (int g = 0; g < groups; ++g)
    if (first[g] < last[g] && (last[g] + panel - 1) / panel > panels) panels = (last[g] + panel - 1) / panel;
  const std::int64_t stride = depth * panel;
  for (int at = 0; at < panels; at += wide_panels) {
    for (int g = 0; g < groups; ++g) {
      if (first[g] >= last[g]) continue;
      const int begin = first[g] / panel, end = smaller((last[g] + panel - 1) / panel, at + wide_panels);
      const int size = smaller(rows - g * micro_rows, micro_rows);
      const float* a = q + g * micro_rows * ldq;
      float *c = s + g * micro_rows * lds, *top = lanes + g * micro_rows * panel;
      int i = at > begin ? at : begin;
      if (i == begin)
        for (int j = 0; j < size * panel; j += width) store(top + j, set1(-__builtin_inff()));
      if (end - i == wide_panels) {
        product<Op, wide_panels * panel_vectors, true>(size, a, ldq, k + i * stride, stride, depth, c + i * panel, lds, top);
        continue;
      }
      if constexpr (wide_panels > 2)
        for (; i + 2 <= end; i += 2)
          product<Op, 2 * panel_vectors, true>(size, a, ldq, k + i * stride, stride, depth, c + i * panel, lds, top);
      for (; i < end; ++i) product<Op, panel_vectors, true>(size, a, ldq, k + i * stride, stride, depth, c + i * panel, lds, top);
    }
  }
}

template <class Op, int count>
inline void value_pass(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows,
                       const int* first, const int* last) {
  for (int g = 0; g * micro_rows < rows; ++g) {
    const int from = first[g] / Op::pair, to = last[g] / Op::pair, at = g * micro_rows;
    if (from < to)
      product<Op, count * panel_vectors, false>(smaller(rows - at, micro_rows), p + at * ldp + from, ldp, v + from * panel, stride,
                                                to - from, out + at * ldo, ldo, nullptr);
  }
}

template <class Op>
void value(const float* p, std::int64_t ldp, const float* v, std::int64_t stride, float* out, std::int64_t ldo, int rows, int panels,
           const int* first, const int* last) {
  int at = 0;
  for (; at + wide_panels <= panels; at += wide_panels)
    value_pass<Op, wide_panels>(p, ldp, v + at * stride, stride, out + at * panel, ldo, rows, first, last);
  if constexpr (wide_panels > 2)
    for (; at + 2 <= panels; at += 2) value_pass<Op, 2>(p, ldp, v + at * stride, stride, out + at * panel, ldo, rows, first, last);
  for (; at < panels; ++at) value_pass<Op, 1>(p, ldp, v + at * stride, stride, out + at * panel, ldo, rows, first, last);
}
