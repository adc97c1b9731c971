// SPDX-License-Identifier: Apache-2.0
// The words in f64 against their definitions, on every instruction set, with one and two threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.h"
#include "ops/doubles.h"

using namespace heed;
using heed::ops::DoubleOps;
using heed::ops::Doubles;

namespace {

/// Numbers with more digits than f32 has.
Doubles random(const Shape& shape, std::uint64_t seed) {
  const base::Random from(seed, 7);
  const Doubles x(shape);
  for (std::int64_t i = 0; i < x.count(); ++i)
    x.data()[i] = from.normal(std::uint64_t(i)) + 1e-9 * from.normal(std::uint64_t(i + x.count()));
  return x;
}

/// The word for every instruction set and number of threads: the same bits.
template <class F>
Doubles each(F&& word) {
  Doubles first;
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16_emulated})
    for (const int threads : {1, 2}) {
      if (!runs_here(isa)) continue;
      Context context;
      context.isa = isa, context.threads = threads;
      const Doubles x = word(DoubleOps(context)).dense();
      if (!first.defined()) first = x;
      EXPECT_EQ(std::memcmp(x.data(), first.data(), std::size_t(x.count()) * sizeof(double)), 0) << name_of(isa) << " " << threads;
    }
  return first;
}

TEST(Doubles, ProductsOfAnyStrides) {
  for (const auto& [m, n, k] : {std::array<std::int64_t, 3>{1, 1, 1}, {5, 17, 3}, {6, 16, 8}, {13, 40, 129}, {7, 5, 0}, {64, 48, 65}}) {
    const Doubles a = random({2, k, 3, m}, 1).permute({0, 2, 3, 1}), b = random({n, k}, 2).transpose(0, 1);
    const Doubles out = each([&](const DoubleOps& ops) { return ops.matmul(a, b); }), x = a.dense(), y = b.dense();
    ASSERT_EQ(out.shape(), (Shape{2, 3, m, n}));
    for (std::int64_t row = 0; row < 6 * m; ++row)
      for (std::int64_t c = 0; c < n; ++c) {
        long double want = 0, size = 0;
        for (std::int64_t p = 0; p < k; ++p) {
          const long double term = static_cast<long double>(x.data()[row * k + p]) * y.data()[p * n + c];
          want += term, size += std::abs(term);
        }
        EXPECT_LE(std::abs(out.data()[row * n + c] - double(want)), 2e-15 * double(size) * std::sqrt(double(k + 1)));
      }
  }
}

TEST(Doubles, SoftmaxLayerNormAndTheirKin) {
  const Doubles x = random({3, 4, 9}, 3), w = random({9}, 4), b = random({9}, 5), g = random({3, 4, 9}, 6);
  const Doubles s = each([&](const DoubleOps& ops) { return ops.softmax(x, 1); });
  const Doubles y = each([&](const DoubleOps& ops) { return ops.layer_norm(x, w, b, 1e-6); });
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t c = 0; c < 9; ++c) {
      double total = 0;
      for (std::int64_t j = 0; j < 4; ++j) total += std::exp(x.data()[(i * 4 + j) * 9 + c]);
      for (std::int64_t j = 0; j < 4; ++j)
        EXPECT_NEAR(s.data()[(i * 4 + j) * 9 + c], std::exp(x.data()[(i * 4 + j) * 9 + c]) / total, 1e-15);
    }
  for (std::int64_t row = 0; row < 12; ++row) {
    double mean = 0, square = 0;
    for (std::int64_t c = 0; c < 9; ++c) mean += x.data()[row * 9 + c] / 9;
    for (std::int64_t c = 0; c < 9; ++c) square += std::pow(x.data()[row * 9 + c] - mean, 2) / 9;
    for (std::int64_t c = 0; c < 9; ++c)
      EXPECT_NEAR(y.data()[row * 9 + c], (x.data()[row * 9 + c] - mean) / std::sqrt(square + 1e-6) * w.data()[c] + b.data()[c], 1e-14);
  }
  // Gradients against differences along themselves.
  const DoubleOps ops{Context()};
  const auto slope = [&](auto&& f, const Doubles& back) {
    const double h = 1e-5;
    const auto at = [&](double step) {
      const Doubles value = ops.mul(f(ops.add(x, ops.scale(back, step))), g);
      return *ops.sum(value.reshape({value.count()})).data();
    };
    const Doubles squares = ops.mul(back, back);
    const double want = *ops.sum(squares.reshape({squares.count()})).data();
    EXPECT_GT(want, 0.1);
    EXPECT_NEAR((at(h) - at(-h)) / (2 * h), want, 1e-7 * want);
  };
  slope([&](const Doubles& v) { return ops.layer_norm(v, w, b, 1e-6); }, ops.layer_norm_back(x, w, 1e-6, g));
  slope([&](const Doubles& v) { return ops.gelu(v); }, ops.gelu_back(x, g));
}

TEST(Doubles, FromF32AndBack) {
  const DoubleOps ops{Context()};
  const Tensor x = Tensor::of({1, -2, 3, 0.1f, -0.0f, 6}, {2, 3});
  EXPECT_EQ(std::memcmp(Doubles(x).transpose(0, 1).transpose(0, 1).narrow().data<float>(), x.data<float>(), 24), 0);
  EXPECT_FALSE(Doubles(Tensor()).defined());
  const Tensor mask(DType::boolean, {3});
  mask.data<std::uint8_t>()[0] = 0, mask.data<std::uint8_t>()[1] = 1, mask.data<std::uint8_t>()[2] = 0;
  const Tensor kept = ops.where(mask, ops.number(7), x).narrow();
  for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(kept.data<float>()[i], i % 3 == 1 ? 7 : x.data<float>()[i]);
  // 1 + 2^-30 - 1 is 0 in f32.
  const Doubles sum = ops.sub(ops.add(ops.number(1), ops.number(0x1p-30)), ops.number(1));
  EXPECT_EQ(*sum.data(), 0x1p-30);
  EXPECT_THROW(ops.matmul(x, x), Error);
  EXPECT_THROW(ops.add(x, Tensor::of({1, 2}, {2})), Error);
  EXPECT_THROW(Doubles{mask}, Error);
}

}  // namespace
