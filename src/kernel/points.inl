// SPDX-License-Identifier: Apache-2.0
// Which elements of a map points read, a vector of points at a time. No includes here: this is inside a namespace, behind the vector words.

/// A sum whose rounding goes into `low`.
inline V two_sum(V a, V b, V& low) {
  const V s = add(a, b), part = sub(s, a);
  low = add(low, add(sub(a, sub(s, part)), sub(b, part)));
  return s;
}

/// Where coordinates fall on an axis of n elements: whole places, and (not the nearest) how far behind them, to twice f32's digits before.
struct AxisPlaces {
  float scale, middle, most, first, span;
  int each, edges;

  AxisPlaces(std::int64_t n, int reads, int beyond, bool corners)
      : scale(corners ? float(n - 1) / 2 : float(n) / 2),
        middle(float(n - 1) / 2),
        most(float(n - 1)),
        first(corners ? 0 : -0.5f),
        span(corners ? float(n - 1) : float(n)),
        each(reads),
        edges(beyond) {}

  /// s and what rounding took from it, brought inside the edges.
  inline __attribute__((always_inline)) void wrap(V& s, V& low) const {
    if (edges == 2 && span == 0) s = low = mul(zero(), s);
    if (edges == 2 && span > 0) {
      V a = two_sum(s, set1(-first), low);
      low = if_less(a, zero(), sub(zero(), low), low), a = abs(a);
      const V turns = floor(mul(a, set1(0.5f / span)));
      a = fma(turns, set1(-2 * span), a);
      low = if_less(set1(span), a, sub(zero(), low), low), a = if_less(set1(span), a, sub(set1(2 * span), a), a);
      s = two_sum(a, set1(first), low);
      low = max(set1(-1), min(set1(1), low));  // of what lies too far for f32 to tell where
    }
    if (edges != 0) {
      low = if_less(s, zero(), zero(), if_less(set1(most), s, zero(), low));
      s = min(set1(most), max(zero(), s));
    }
  }
  /// A whole place brought inside the edges.
  inline __attribute__((always_inline)) V wrapped(V place) const {
    V none = zero();
    wrap(place, none);
    return place;
  }
  inline __attribute__((always_inline)) V of(V x, V& behind) const {
    const V p = mul(x, set1(scale));
    V low = fms(x, set1(scale), p), s = two_sum(p, set1(middle), low);
    if (each != 4) wrap(s, low);
    // The cubic kernel wraps its elements, which must be numbers; other reads pass over what is none, or far away.
    if (each == 4) low = if_less(abs(s), set1(1e9f), low, zero()), s = if_less(abs(s), set1(1e9f), s, set1(-100));
    const V place = each == 1 ? round(s) : floor(s), rest = add(sub(s, place), low), more = each == 1 ? round(rest) : floor(rest);
    behind = sub(rest, more);
    return add(place, more);
  }
  /// The weight, or 0, and the place, or 0, of what lies outside or is NaN.
  inline __attribute__((always_inline)) void inside(V& place, V& weight) const {
    const V end = set1(most + 1), before = set1(-1);
    weight = if_less(before, place, if_less(place, end, weight, zero()), zero());
    place = if_less(before, place, if_less(place, end, place, zero()), zero());
  }
};

/// The elements that points read along an axis, and their weights.
template <int each>
struct AxisReads {
  V place[each], weight[each];

  inline __attribute__((always_inline)) AxisReads(const AxisPlaces& axis, V x) {
    const V one = set1(1);
    V t = zero();
    const V first = axis.of(x, t);
    if constexpr (each == 1) {
      place[0] = first, weight[0] = one;
    } else if constexpr (each == 2) {
      place[0] = first, place[1] = add(first, one);
      weight[0] = sub(one, t), weight[1] = t;
    } else {  // the cubic kernel of -3/4: within 1 of an element, and from 1 to 2
      const auto near = [&](V d) HEED_INLINE { return fma(mul(fma(set1(1.25f), d, set1(-2.25f)), d), d, one); };
      const auto far = [&](V d) HEED_INLINE { return fma(fma(fma(set1(-0.75f), d, set1(3.75f)), d, set1(-6)), d, set1(3)); };
      weight[0] = far(add(t, one)), weight[1] = near(t), weight[2] = near(sub(one, t)), weight[3] = far(sub(set1(2), t));
#pragma GCC unroll 4
      for (int i = 0; i < each; ++i) place[i] = axis.wrapped(add(first, set1(float(i - 1))));
    }
#pragma GCC unroll 4
    for (int i = 0; i < each; ++i) axis.inside(place[i], weight[i]);
  }
};

template <int each>
void points_of(const float* at, std::int64_t n, std::int64_t high, std::int64_t wide, int edges, bool corners, std::int32_t* index,
               float* weight) {
  const AxisPlaces across(wide, each, edges, corners), down(high, each, edges, corners);
  for (std::int64_t i = 0; i < n; i += width) {
    const int rest = n - i < width ? int(n - i) : width;
    const int near = 2 * rest < width ? 2 * rest : width;
    const float* pairs = at + 2 * i;
    const V first = rest == width ? load(pairs) : load_part(pairs, near);
    const V second = rest == width ? load(pairs + width) : load_part(pairs + width, 2 * rest - near);
    const AxisReads<each> x(across, evens(first, second)), y(down, odds(first, second));
    for (int h = 0; h < each; ++h)
      for (int w = 0; w < each; ++w) {
        const std::int64_t to = (h * each + w) * n + i;
        const V place = fma(y.place[h], set1(float(wide)), x.place[w]), all = mul(y.weight[h], x.weight[w]);
        if (rest == width) {
          store_whole(index + to, place), store(weight + to, all);
        } else {
          std::int32_t whole[width];
          store_whole(whole, place), store_part(weight + to, all, rest);
          for (int l = 0; l < rest; ++l) index[to + l] = whole[l];
        }
      }
  }
}

void points(const float* at, std::int64_t n, std::int64_t high, std::int64_t wide, int each, int edges, bool corners, std::int32_t* index,
            float* weight) {
  (each == 1 ? points_of<1> : each == 2 ? points_of<2> : points_of<4>)(at, n, high, wide, edges, corners, index, weight);
}
