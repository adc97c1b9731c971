// SPDX-License-Identifier: Apache-2.0
// Four vectors as one: the words on them take the four in turn, so that four chains of a long function run side by side, more than the
// processor would find for itself. No includes here: this is inside a namespace, behind the vector words.

struct Four {
  V v[4];
};
struct FourWhole {
  I v[4];
};

template <class T>
constexpr bool is_four = false;
template <>
constexpr bool is_four<Four> = true;
template <>
constexpr bool is_four<FourWhole> = true;

inline Four together(V a, V b, V c, V d) { return {{a, b, c, d}}; }
inline FourWhole together(I a, I b, I c, I d) { return {{a, b, c, d}}; }

template <int i, class T>
inline auto part_of(const T& x) {
  if constexpr (is_four<T>)
    return x.v[i];
  else
    return x;
}

/// A word of vectors on Fours; an argument that is none goes to all four.
#define HEED_BY_FOUR(word)                                                                                           \
  template <class... X>                                                                                              \
    requires(is_four<X> || ...)                                                                                      \
  HEED_INLINE inline auto word(const X&... x) {                                                                      \
    return together(word(part_of<0>(x)...), word(part_of<1>(x)...), word(part_of<2>(x)...), word(part_of<3>(x)...)); \
  }
HEED_BY_FOUR(add)
HEED_BY_FOUR(sub)
HEED_BY_FOUR(mul)
HEED_BY_FOUR(div)
HEED_BY_FOUR(fma)
HEED_BY_FOUR(fms)
HEED_BY_FOUR(max)
HEED_BY_FOUR(min)
HEED_BY_FOUR(abs)
HEED_BY_FOUR(round)
HEED_BY_FOUR(scale_far)
HEED_BY_FOUR(scale_by_last)
HEED_BY_FOUR(octave_part)
HEED_BY_FOUR(pick)
#undef HEED_BY_FOUR

inline Four load_four(const float* p) { return together(load(p), load(p + width), load(p + 2 * width), load(p + 3 * width)); }
inline void store_four(float* p, const Four& x) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) store(p + i * width, x.v[i]);
}
