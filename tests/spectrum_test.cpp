// SPDX-License-Identifier: Apache-2.0
// Fourier and cosine transforms of many lengths against their definition in f64, on every instruction set, with one and two threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "heed/ops.h"

using namespace heed;

namespace {

constexpr double pi = 3.14159265358979323846;

Tensor random(const Shape& shape) {
  const base::Random from(3, std::uint64_t(shape.count()));
  const Tensor x(DType::f32, shape);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = float(from.normal(std::uint64_t(i)));
  return x;
}

/// The op for every instruction set, the same with two threads.
template <class F>
void each(F&& check) {
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16_emulated}) {
    if (!runs_here(isa)) continue;
    Context one, two;
    one.isa = two.isa = isa;
    one.threads = 1, two.threads = 2;
    const Tensor a = check(Ops(one)), b = check(Ops(two));
    EXPECT_EQ(std::memcmp(a.data<float>(), b.data<float>(), std::size_t(a.count()) * sizeof(float)), 0) << name_of(isa);
  }
}

/// Rows of 4s, 2s, odd primes, primes too large for a pass, and lanes that fill no block of 16.
TEST(Spectrum, AnyLengthIsItsDefinition) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 22, 31, 37, 60, 64, 74, 97, 128, 196, 243, 256})
    for (const bool across : {false, true}) {
      constexpr std::int64_t lanes = 19;
      const Tensor x = across ? random({2, n, lanes, 2}) : random({2 * lanes, n, 2});
      const auto at = [&](std::int64_t o, std::int64_t t, std::int64_t l, int c) {
        return across ? ((o * n + t) * lanes + l) * 2 + c : ((o * lanes + l) * n + t) * 2 + c;
      };
      for (const bool inverse : {false, true})
        each([&](const Ops& ops) {
          const Tensor y = ops.fft(x, 1, inverse);
          for (std::int64_t o = 0; o < 2; ++o)
            for (const std::int64_t l : {0, 7, 18})
              for (std::int64_t k = 0; k < n; ++k) {
                double re = 0, im = 0, size = 0;
                for (std::int64_t t = 0; t < n; ++t) {
                  const double angle = (inverse ? 2 : -2) * pi * double(k * t % n) / double(n);
                  const double a = x.data<float>()[at(o, t, l, 0)], b = x.data<float>()[at(o, t, l, 1)];
                  re += a * std::cos(angle) - b * std::sin(angle), im += a * std::sin(angle) + b * std::cos(angle);
                  size += std::abs(a) + std::abs(b);
                }
                const double factor = inverse ? 1 / double(n) : 1, bound = 1e-6 * (1 + size) * factor;
                EXPECT_NEAR(y.data<float>()[at(o, k, l, 0)], re * factor, bound) << n << " " << k;
                EXPECT_NEAR(y.data<float>()[at(o, k, l, 1)], im * factor, bound) << n << " " << k;
              }
          return y;
        });
    }
}

TEST(Spectrum, RealOnesAreHalves) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 8, 14, 31, 37, 64, 74, 100, 255}) {
    const Tensor x = random({21, n});
    each([&](const Ops& ops) {
      const Tensor y = ops.rfft(x, 1), back = ops.irfft(y, 1, n);
      const Tensor whole = ops.fft(ops.pad(x.reshape({21, n, 1}), 2, 0, 1), 1);
      for (std::int64_t r = 0; r < 21; ++r)
        for (std::int64_t t = 0; t < n; ++t) {
          EXPECT_NEAR(back.data<float>()[r * n + t], x.data<float>()[r * n + t], 3e-6);
          for (int c = 0; c < 2 && t <= n / 2; ++c)
            EXPECT_NEAR(y.data<float>()[(r * (n / 2 + 1) + t) * 2 + c], whole.data<float>()[(r * n + t) * 2 + c], 2e-6 * double(n + 1));
        }
      return y;
    });
  }
}

TEST(Spectrum, CosinesAndTheirInverse) {
  for (const std::int64_t n : {1, 2, 3, 7, 8, 30, 37, 64})
    for (const bool orthonormal : {true, false}) {
      const Tensor x = random({3, n, 18});
      each([&](const Ops& ops) {
        const Tensor y = ops.dct(x, 1, orthonormal), back = ops.idct(y, 1, orthonormal);
        for (std::int64_t o = 0; o < 3; ++o)
          for (std::int64_t k = 0; k < n; ++k) {
            double sum = 0, size = 0;
            for (std::int64_t t = 0; t < n; ++t) {
              const double v = x.data<float>()[(o * n + t) * 18 + 17];
              sum += 2 * v * std::cos(pi * double(k) * double(2 * t + 1) / double(2 * n)), size += 2 * std::abs(v);
            }
            if (orthonormal) sum *= std::sqrt((k == 0 ? 1.0 : 2.0) / double(n)) / 2;
            EXPECT_NEAR(y.data<float>()[(o * n + k) * 18 + 17], sum, 1e-6 * (1 + size));
            EXPECT_NEAR(back.data<float>()[(o * n + k) * 18 + 17], x.data<float>()[(o * n + k) * 18 + 17], 3e-6);
          }
        return y;
      });
    }
}

}  // namespace
