// SPDX-License-Identifier: Apache-2.0
// Plans of Fourier transforms of any length: passes by 4, 2 and odd primes up to 31 (Stockham, 1966), other lengths as a convolution with
// a chirp (Bluestein, 1970).
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "kernel/fourier.h"

namespace heed::ops {

class Transform {
 public:
  /// sum over t of x_t exp(-+2 pi i k t / n): minus, or plus where `inverse`.
  Transform(std::int64_t n, bool inverse);
  /// Plans are kept: their tables cost more than a transform.
  static std::shared_ptr<const Transform> of(std::int64_t n, bool inverse);

  std::int64_t room() const { return room_; }  ///< numbers that x and its spare must hold
  /// The transform of x[0, n), in x or in the spare.
  float* run(const kernel::FourierTable& loops, float* x, float* spare) const;
  /// exp(-+pi i k / n) for k <= n: what joins two transforms of n.
  const std::vector<float>& halves() const { return halves_; }

 private:
  struct Pass {
    std::int64_t radix, m;
    std::vector<float> turns, roots;
  };
  std::int64_t n_, room_;
  std::vector<Pass> passes_;
  std::shared_ptr<const Transform> power_;  ///< of the convolution; null where there are passes
  std::vector<float> chirp_, last_, filter_, halves_;
};

}  // namespace heed::ops
