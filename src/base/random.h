// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 (Salmon et al., 2011): a number is a function of (seed, stream, index), the same on every instruction set and
// for any number of threads.
#pragma once
#include <array>
#include <cmath>
#include <cstdint>

namespace heed::base {

class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

  /// 32 random bits.
  std::uint32_t bits(std::uint64_t index) const { return block(index / 4)[index % 4]; }
  /// In [0, 1), a multiple of 2^-24: exact in f32.
  double uniform(std::uint64_t index) const { return double(bits(index) >> 8) * 0x1p-24; }
  /// Mean 0, deviation 1 (Box and Muller).
  double normal(std::uint64_t index) const {
    const auto pair = block(index / 2);
    const double radius = std::sqrt(-2 * std::log((double(pair[0]) + 0.5) * 0x1p-32)),
                 angle = 6.283185307179586 * double(pair[1]) * 0x1p-32;
    return index % 2 ? radius * std::sin(angle) : radius * std::cos(angle);
  }

 private:
  std::array<std::uint32_t, 4> block(std::uint64_t counter) const {
    std::array<std::uint32_t, 4> x{std::uint32_t(counter), std::uint32_t(counter >> 32), std::uint32_t(stream_),
                                   std::uint32_t(stream_ >> 32)};
    std::uint32_t k0 = std::uint32_t(seed_), k1 = std::uint32_t(seed_ >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      const std::uint64_t a = std::uint64_t{0xD2511F53u} * x[0], b = std::uint64_t{0xCD9E8D57u} * x[2];
      x = {std::uint32_t(b >> 32) ^ x[1] ^ k0, std::uint32_t(b), std::uint32_t(a >> 32) ^ x[3] ^ k1, std::uint32_t(a)};
    }
    return x;
  }
  std::uint64_t seed_, stream_;
};

}  // namespace heed::base
