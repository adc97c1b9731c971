// SPDX-License-Identifier: Apache-2.0
// The same loops over vectors in plain C++, for tests of what this machine lacks: pairs of bf16 as VDPBF16PS rounds them.
#include <bit>
#include <cmath>
#include <initializer_list>

#include "base/float16.h"
#include "kernel/amx.h"
#include "kernel/region.h"

namespace heed::kernel::plain {

constexpr int width = 16;
constexpr int panel_vectors = panel / width;
constexpr int wide_panels = 4;
constexpr int direct_rows = 6;

struct V {
  float x[width];
};

template <class F>
inline V each(F f) {
  V r;
  for (int i = 0; i < width; ++i) r.x[i] = f(i);
  return r;
}
inline V set1(float a) {
  return each([&](int) { return a; });
}
inline V zero() { return set1(0); }
inline V load(const float* p) {  // pairs of 16 bits may begin anywhere
  V r;
  __builtin_memcpy(r.x, p, sizeof r.x);
  return r;
}
inline void store(float* p, V a) { __builtin_memcpy(p, a.x, sizeof a.x); }
inline V add(V a, V b) {
  return each([&](int i) { return a.x[i] + b.x[i]; });
}
inline V sub(V a, V b) {
  return each([&](int i) { return a.x[i] - b.x[i]; });
}
inline V mul(V a, V b) {
  return each([&](int i) { return a.x[i] * b.x[i]; });
}
inline V div(V a, V b) {
  return each([&](int i) { return a.x[i] / b.x[i]; });
}
inline V fma(V a, V b, V c) {
  return each([&](int i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
}
inline V fms(V a, V b, V c) {
  return each([&](int i) { return std::fma(a.x[i], b.x[i], -c.x[i]); });
}
/// The second where either is NaN.
inline V max(V a, V b) {
  return each([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
inline bool any_less(V a, V b) {
  bool any = false;
  for (int i = 0; i < width; ++i) any |= a.x[i] < b.x[i];
  return any;
}
inline V negative_abs(V a) {
  return each([&](int i) { return -std::fabs(a.x[i]); });
}
/// a < b ? x : y.
inline V if_less(V a, V b, V x, V y) {
  return each([&](int i) { return a.x[i] < b.x[i] ? x.x[i] : y.x[i]; });
}
inline V copy_sign(V magnitude, V sign) {
  return each([&](int i) { return std::copysign(magnitude.x[i], sign.x[i]); });
}
inline void pin(V&) {}
inline void accumulate(V& c, V a, V b) { c = fma(a, b, c); }

struct Fma {
  static constexpr int pair = 1;
  static void step(V& c, V a, V b) { c = fma(a, b, c); }
};

/// VDPBF16PS: the odd products first, then the even ones, each fused; denormals are zeros.
struct Dot {
  static constexpr int pair = 2;
  static float flush(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
  static float part(float word, bool odd) {
    const auto bits = std::bit_cast<std::uint32_t>(word);
    return flush(std::bit_cast<float>(odd ? bits & 0xffff0000u : bits << 16));
  }
  static void step(V& c, V a, V b) {
    for (const bool odd : {true, false})
      c = each([&](int i) { return flush(std::fma(part(a.x[i], odd), part(b.x[i], odd), flush(c.x[i]))); });
  }
};

template <int degree>
V exp2_series(V f);
constexpr bool exp2_floors = true;
template <int degree>
inline V exp2_of(V x) {
  const V f = each([&](int i) { return x.x[i] - std::floor(x.x[i]); }), y = exp2_series<degree>(f);
  return each([&](int i) { return x.x[i] < -126.0f ? 0.0f : std::isnan(x.x[i]) ? x.x[i] : y.x[i] * std::exp2(std::floor(x.x[i])); });
}

inline V from_half(const std::uint16_t* p) {
  return each([&](int i) { return base::from_f16(p[i]); });
}
inline V from_brain(const std::uint16_t* p) {
  return each([&](int i) { return base::from_bf16(p[i]); });
}
inline void to_half(std::uint16_t* p, V a) {
  for (int i = 0; i < width; ++i) p[i] = base::to_f16(a.x[i]);
}
inline void to_brain(std::uint16_t* p, V a) {
  for (int i = 0; i < width; ++i) p[i] = base::to_bf16(a.x[i]);
}

void mask_row(float* x, const std::uint8_t* keep, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    if (!keep[i]) x[i] = -__builtin_inff();
}

inline float sum_of(V a) {
  float sum = 0;
  for (const float y : a.x) sum += y;
  return sum;
}
inline void sum_four(V a, V b, V c, V d, float* to) { to[0] = sum_of(a), to[1] = sum_of(b), to[2] = sum_of(c), to[3] = sum_of(d); }

void turn(const float* from, std::int64_t s, std::int64_t n, float* to, std::int64_t t) {
  for (std::int64_t d = 0; d < n; ++d)
    for (int i = 0; i < panel; ++i) to[d * t + i] = from[i * s + d];
}
void transpose(const float* from, std::int64_t s, std::int64_t n, float* to) { turn(from, s, n, to, panel); }

/// Words of two rows, eight of every quarter of four, as _mm512_unpacklo_epi16 has them.
inline V mix(V a, V b, int high) {
  std::uint16_t x[32], y[32], z[32];
  __builtin_memcpy(x, a.x, sizeof x);
  __builtin_memcpy(y, b.x, sizeof y);
  for (int i = 0; i < 16; ++i) {
    const int from = i / 4 * 8 + i % 4 + 4 * high;
    z[2 * i] = x[from], z[2 * i + 1] = y[from];
  }
  V r;
  __builtin_memcpy(r.x, z, sizeof z);
  return r;
}
inline V mix_low(V a, V b) { return mix(a, b, 0); }
inline V mix_high(V a, V b) { return mix(a, b, 1); }
inline void split(V a, V b, V& low, V& high) {
  const auto at = [&](int i) { return i < 16 ? a.x[i] : b.x[i - 16]; };
  low = each([&](int i) { return at(i / 4 * 8 + i % 4); }), high = each([&](int i) { return at(i / 4 * 8 + i % 4 + 4); });
}
inline void join(V low, V high, V& a, V& b) {
  const auto at = [&](int i) { return (i % 8 < 4 ? low : high).x[i / 8 * 4 + i % 4]; };
  a = each([&](int i) { return at(i); }), b = each([&](int i) { return at(i + 16); });
}

void interleave(const std::uint16_t* a, const std::uint16_t* b, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = std::bit_cast<float>(std::uint32_t(b[i]) << 16 | a[i]);
}

#include "kernel/series.inl"
#include "kernel/micro.inl"
#include "kernel/direct.inl"
#include "kernel/direct_pairs.inl"
#include "kernel/loops.inl"

void narrow_pairs(const float* x, std::int64_t n, float* to) {
  for (std::int64_t i = 0; i < n; i += 2)
    to[i / 2] = std::bit_cast<float>(std::uint32_t(base::to_bf16(x[i + 1])) << 16 | base::to_bf16(x[i]));
}
void exp2_pairs(const float* x, std::int64_t n, float factor, float reference, float* sums, float* to) {
  for (std::int64_t i = 0; i < n; i += panel) {
    float y[panel];
    exp2_sum<3>(x + i, panel, factor, reference, sums, y);
    narrow_pairs(y, panel, to + i / 2);
  }
}

constinit const Products strict = make_strict("f32"), brief = make_brief("f32, weights to 16 bits");

}  // namespace heed::kernel::plain

namespace heed::kernel {
constinit const Direct plain_bf16_direct{plain::direct_pair_score<plain::Dot>, plain::direct_pair_value<plain::Dot>};
constinit const Table plain_table = plain::make_table("plain", &plain::strict, &plain::brief);
constinit const Products plain_bf16_products{
    "bf16 by emulated VDPBF16PS", 2, 1, plain::micro_rows, plain::score<plain::Dot>, plain::value<plain::Dot>, plain::exp2_pairs,
    plain::narrow_pairs};
constinit const Products plain_amx_products{
    "bf16 by emulated TDPBF16PS", 2, 16, amx::group, amx::score<amx::Emulated>, amx::value<amx::Emulated>, plain::exp2_pairs,
    plain::narrow_pairs};
}  // namespace heed::kernel
