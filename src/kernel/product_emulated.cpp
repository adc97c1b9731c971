// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI and VDPBF16PS in plain C++, of the same rounding.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/float16.h"
#include "kernel/product_loops.h"

namespace heed::product::emulated {

typedef float V __attribute__((vector_size(64)));
typedef std::int32_t I __attribute__((vector_size(64)));
typedef std::uint32_t U __attribute__((vector_size(64)));
constexpr int width = 16;
constexpr int wide_panels = 4, few_panels = 4;
constexpr int dot_vectors = 2;

inline V zero() { return V{}; }
inline V set1(float x) { return V{} + x; }
inline V load(const float* p) {
  V x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, V x) { std::memcpy(p, &x, sizeof x); }
inline V add(V a, V b) { return a + b; }
inline V mul(V a, V b) { return a * b; }
inline void pin(V&) {}
inline void accumulate(V& c, V a, V b) {
  for (int i = 0; i < width; ++i) c[i] = std::fma(a[i], b[i], c[i]);
}
inline V from_half(const std::uint16_t* p) {
  V x;
  for (int i = 0; i < width; ++i) x[i] = base::from_f16(p[i]);
  return x;
}

inline I load_int(const void* p) {
  I x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <int N>
inline I shift_left(I x) {
  return I(U(x) << N);
}
template <int N>
inline I shift_right(I x) {
  return I(U(x) >> N);
}
inline I and_int(I x, int mask) { return x & mask; }
inline I add_int(I x, int y) { return x + y; }
inline I add_ints(I x, I y) { return x + y; }
inline I max_int(I x, I y) { return x > y ? x : y; }
inline V to_float(I x) { return __builtin_convertvector(x, V); }
inline I to_int(V x) {
  I y;
  for (int i = 0; i < width; ++i) y[i] = std::int32_t(std::nearbyint(x[i]));
  return y;
}
inline V as_float(I x) { return V(x); }
inline std::int32_t largest(I x) {
  std::int32_t most = x[0];
  for (int i = 1; i < width; ++i) most = x[i] > most ? x[i] : most;
  return most;
}
inline std::int32_t total(I x) {
  std::int32_t sum = 0;
  for (int i = 0; i < width; ++i) sum += x[i];
  return sum;
}
inline void store_bytes(std::int8_t* p, I x) {
  for (int i = 0; i < width; ++i) p[i] = std::int8_t(x[i]);
}
inline I broadcast(const std::int8_t* p) {
  std::int32_t four;
  std::memcpy(&four, p, sizeof four);
  return I{} + four;
}

template <int bits>
struct Codes {
  I x;
};
template <int bits>
inline Codes<bits> prepare(I x) {
  return {bits == 4 ? x & 0x0f0f0f0f : x};
}
template <int bits>
inline I dot_start(const std::int32_t* minus) {
  return I{} + (bits == 4 ? 0 : *minus);
}
template <int bits>
inline void dot_add(I& d, const Codes<bits>& w, I x) {
  for (int i = 0; i < width; ++i)
    for (int byte = 0; byte < 4; ++byte)
      d[i] += std::int32_t(std::uint8_t(w.x[i] >> (8 * byte))) * std::int32_t(std::int8_t(x[i] >> (8 * byte)));
}
template <int bits>
inline V dot_end(I d) {
  return to_float(d);
}

inline void turn(const float* p, std::int64_t ld, V* to) {
  for (int d = 0; d < 4; ++d)
    for (int i = 0; i < width; ++i) to[d][i] = p[i * ld + d];
}

#include "kernel/product.inl"
#include "kernel/turned.inl"
#include "kernel/quantised.inl"
#include "kernel/dots.inl"
#include "kernel/product_table.inl"

}  // namespace heed::product::emulated

namespace heed::product::emulated_bf16 {

using emulated::V, emulated::width, emulated::wide_panels, emulated::few_panels;
using emulated::zero, emulated::set1, emulated::load, emulated::store, emulated::add, emulated::pin;

inline float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
/// The odd product first, then the even one; denormals are zero.
inline void accumulate(V& c, V a, V b) {
  for (int i = 0; i < width; ++i) {
    std::uint32_t x, y;
    const float left = a[i], right = b[i];
    std::memcpy(&x, &left, sizeof x);
    std::memcpy(&y, &right, sizeof y);
    const auto high = [](std::uint32_t bits) { return flushed(base::from_bf16(std::uint16_t(bits >> 16))); };
    const float odd = flushed(std::fma(high(x), high(y), flushed(c[i])));
    c[i] = flushed(std::fma(high(x << 16), high(y << 16), odd));
  }
}

#include "kernel/product.inl"

void round(const float* x, std::int64_t n, std::uint16_t* to) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = base::to_bf16(flushed(x[i]));
}

}  // namespace heed::product::emulated_bf16

namespace heed::product {
static constexpr Loops with_bf16(Loops loops) {
  loops.bf16 = emulated_bf16::multiply;
  loops.round = emulated_bf16::round;
  return loops;
}
constinit const Loops emulated_loops = with_bf16(emulated::make_loops());
}  // namespace heed::product
