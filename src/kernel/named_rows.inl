// SPDX-License-Identifier: Apache-2.0
// The loops of elementwise.h over rows that indices name, against a vector type V of `width` floats, and the table of all: included by
// elementwise_avx2.cpp and elementwise_avx512.cpp inside their namespaces.

/// out[to[r]] = f(out[to[r]], x[from[r]], weight[r]). Rows that go to one place follow each other in registers.
template <V (*f)(V, V, V), float (*one)(float, float, float)>
void reduce_at(const float* x, const std::int64_t* from, const float* weight, std::int64_t rows, std::int64_t stride, std::int64_t n,
               const std::int64_t* to, float* out) {
  if (n == 1 && stride == 1 && !from && !weight) {
    for (std::int64_t r = 0; r < rows; ++r) out[to[r]] = one(out[to[r]], x[r], 1);
    return;
  }
  const auto row = [=](std::int64_t r) HEED_INLINE { return x + (from ? from[r] : r) * stride; };
  for (std::int64_t r = 0, last; r < rows; r = last) {
    for (last = r + 1; last < rows && to[last] == to[r];) ++last;
    float* at = out + to[r] * stride;
    std::int64_t c = 0;
    for (; c + 4 * width <= n; c += 4 * width) {
      V sum[4];
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) sum[p] = load(at + c + p * width);
      for (std::int64_t i = r; i < last; ++i) {
        const float* of = row(i) + c;
        const V w = set1(weight ? weight[i] : 1);
#pragma GCC unroll 4
        for (int p = 0; p < 4; ++p) sum[p] = f(sum[p], load(of + p * width), w);
      }
#pragma GCC unroll 4
      for (int p = 0; p < 4; ++p) store(at + c + p * width, sum[p]);
    }
    for (; c < n; c += width) {
      const int rest = n - c < width ? int(n - c) : width;
      V sum = some_of(at + c, rest);
      for (std::int64_t i = r; i < last; ++i) sum = f(sum, some_of(row(i) + c, rest), set1(weight ? weight[i] : 1));
      put_some(at + c, sum, rest);
    }
  }
}
inline V plus_times(V a, V b, V w) { return fma(b, w, a); }
inline float plus_times(float a, float b, float w) { return __builtin_fmaf(b, w, a); }
inline V larger_of(V a, V b, V) { return larger(b, a); }
inline float larger_of(float a, float b, float) {  // without a branch
  const __m128 x = _mm_set_ss(b);
  return _mm_cvtss_f32(_mm_or_ps(_mm_max_ss(x, _mm_set_ss(a)), _mm_cmpunord_ss(x, x)));
}

/// out[r] = F::of(x[r], y[place[r]]).
template <class F>
void with_at(const float* x, const float* y, const std::int64_t* place, std::int64_t rows, std::int64_t n, float* out) {
  if (n == 1) {
    float other[4 * width];
    std::int64_t r = 0;
    for (; r + 4 * width <= rows; r += 4 * width) {
      for (int l = 0; l < 4 * width; ++l) other[l] = y[place[r + l]];
      store_four(out + r, F::of(load_four(x + r), load_four(other)));
    }
    for (; r < rows; r += width) {
      const int rest = rows - r < width ? int(rows - r) : width;
      for (int l = 0; l < rest; ++l) other[l] = y[place[r + l]];
      put_some(out + r, F::of(some_of(x + r, rest), some_of(other, rest)), rest);
    }
    return;
  }
  for (std::int64_t r = 0; r < rows; ++r, x += n, out += n) {
    const float* row = y + place[r] * n;
    std::int64_t c = 0;
    for (; c + 4 * width <= n; c += 4 * width) store_four(out + c, F::of(load_four(x + c), load_four(row + c)));
    for (; c < n; c += width) {
      const int rest = n - c < width ? int(n - c) : width;
      put_some(out + c, F::of(some_of(x + c, rest), some_of(row + c, rest)), rest);
    }
  }
}
struct PowerBelow {  // NaN is the second of max and stays
  template <class W>
  static W of(const W& x, const W& top) {
    return exp_of(sub(x, max(set1(-__FLT_MAX__), top)));
  }
};
struct Share {
  template <class W>
  static W of(const W& x, const W& sum) {
    return div(x, max(set1(__FLT_MIN__), sum));
  }
};

bool below(const std::int64_t* x, std::int64_t n, std::int64_t limit) {
  typedef std::uint64_t U __attribute__((vector_size(width * 4)));
  constexpr int lanes = width / 2;
  const std::uint64_t most = std::uint64_t(limit) - 1;
  U all = {};  // the highest bit is set once a number or its distance to the limit is negative
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    U v;
    __builtin_memcpy(&v, x + i, sizeof v);
    all |= v | (most - v);
  }
  std::uint64_t bad = 0;
  for (int l = 0; l < lanes; ++l) bad |= all[l];
  for (; i < n; ++i) bad |= std::uint64_t(x[i]) | (most - std::uint64_t(x[i]));
  return !(bad >> 63);
}

/// Single loads: gathers are slower.
inline __m128 four(const float* x, const std::int64_t* place) {
  const __m128 two = _mm_insert_ps(_mm_load_ss(x + place[0]), _mm_load_ss(x + place[1]), 0x10);
  return _mm_insert_ps(_mm_insert_ps(two, _mm_load_ss(x + place[2]), 0x20), _mm_load_ss(x + place[3]), 0x30);
}

void take(const float* x, std::int64_t apart, const std::int64_t* place, std::int64_t n, std::int64_t lanes, bool more, float* to) {
  // A row of some pages that is read in no order is asked for while the one before it is read.
  const std::int64_t lines = apart < 1024 || apart > 32 * n ? 0 : (apart / 16 + n / 8 - 1) / (n / 8);  // with every eight numbers
  for (std::int64_t l = 0; l < lanes; ++l, x += apart, place += n, to += n) {
    const float* next = x + apart;
    const std::int64_t asked = more || l + 1 < lanes ? lines : 0;
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (std::int64_t k = 0; k < asked; ++k, next += 16) ask_for(reinterpret_cast<const char*>(next));
      _mm_storeu_ps(to + i, four(x, place + i)), _mm_storeu_ps(to + i + 4, four(x, place + i + 4));
    }
    for (; i < n; ++i) to[i] = x[place[i]];
  }
}

constexpr ElementTable make_table() {
  return {map_by_four<Exp>,
          map<tanh_of>,
          map<sigmoid_of>,
          map<silu_of>,
          map_by_four<Gelu>,
          map<gelu_tanh_of>,
          map<erf_of>,
          map<log_of>,
          map<log1p_of>,
          map<softplus_of>,
          wave<0>,
          wave<1>,
          map<sqrt_of>,
          map<rsqrt_of>,
          map<cube_of>,
          map<abs_of>,
          map<sign_of>,
          curve<leaky_of>,
          curve<elu_of>,
          clamp,
          power,
          zip<add>,
          zip<sub>,
          zip<mul>,
          zip<div>,
          zip<larger>,
          zip<smaller>,
          compare<less_than>,
          compare<equal_to>,
          choose,
          sum,
          sums,
          squares,
          largest,
          smallest,
          find,
          exp_sum,
          softmax,
          log_softmax,
          normalise,
          add_rows,
          sum_rows,
          run_rows,
          extreme_rows<larger>,
          extreme_rows<smaller>,
          find_rows,
          exp_rows,
          reduce_at<plus_times, plus_times>,
          reduce_at<larger_of, larger_of>,
          with_at<PowerBelow>,
          with_at<Share>,
          below,
          take};
}
