// SPDX-License-Identifier: Apache-2.0
#include "base/convert.h"

#include <bit>

#include "base/float16.h"

namespace heed::base {
namespace {

/// from_f16 without branches: subnormals come right by a multiplication, which is exact.
inline float widen_f16(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16, magnitude = std::uint32_t(bits & 0x7fffu) << 13;
  const auto value = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  return std::bit_cast<float>(sign | (magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : value));
}

/// to_bf16 without branches.
inline std::uint16_t round_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, quiet = (bits >> 16) | 0x40u;
  return std::uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

template <class From, class To, class Function>
void all(const void* from, void* to, std::int64_t n, Function function) {
  const auto* const x = static_cast<const From*>(from);
  auto* const y = static_cast<To*>(to);
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) y[i] = function(x[i]);
}

}  // namespace

bool convert(const void* from, DType given, void* to, DType wanted, std::int64_t n) {
  if (given == DType::bf16 && wanted == DType::f32)
    all<std::uint16_t, float>(from, to, n, from_bf16);
  else if (given == DType::f16 && wanted == DType::f32)
    all<std::uint16_t, float>(from, to, n, widen_f16);
  else if (given == DType::f32 && wanted == DType::bf16)
    all<float, std::uint16_t>(from, to, n, round_bf16);
  else if (given == DType::f32 && wanted == DType::f16)
    all<float, std::uint16_t>(from, to, n, to_f16);
  else
    return false;
  return true;
}

}  // namespace heed::base
