// SPDX-License-Identifier: Apache-2.0
// The loops of kernel/elementwise.h against f64, on every instruction set that this machine has.
#include "kernel/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

using namespace heed;
using kernel::ElementTable;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity(), odd = std::numeric_limits<float>::quiet_NaN();

std::vector<const ElementTable*> tables() {
  std::vector<const ElementTable*> list{&kernel::elements_avx2};
  if (runs_here(Isa::avx512)) list.push_back(&kernel::elements_avx512);
  return list;
}

/// Distance in units of the last place of the exact value.
double ulps(float got, double want) {
  if (std::isnan(want) || std::isinf(float(want))) return std::isnan(want) ? std::isnan(got) ? 0 : 1e9 : got == float(want) ? 0 : 1e9;
  int exponent;
  std::frexp(want, &exponent);
  return std::abs(double(got) - want) / std::ldexp(1.0, exponent - 24);
}

TEST(Elementwise, FunctionsOverAllFloats) {
  const struct {
    const char* name;
    ElementTable::Map ElementTable::*loop;
    std::function<double(double)> f;
    double bound;
  } cases[] = {{"exp", &ElementTable::exp, [](double x) { return std::exp(x); }, 1.5},
               {"tanh", &ElementTable::tanh, [](double x) { return std::tanh(x); }, 1.5},
               {"sigmoid", &ElementTable::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 1.5},
               {"erf", &ElementTable::erf, [](double x) { return std::erf(x); }, 1.5},
               {"silu", &ElementTable::silu, [](double x) { return x / (1 + std::exp(-x)); }, 2.4},
               {"gelu", &ElementTable::gelu, [](double x) { return x * std::erfc(-x * 0.70710678118654752440) / 2; }, 7}};
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += 2003) {
    const auto word = std::uint32_t(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    x.push_back(value);
  }
  std::vector<float> y(x.size());
  for (const auto* table : tables())
    for (const auto& c : cases) {
      (table->*c.loop)(x.data(), std::int64_t(x.size()), y.data());
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double want = c.f(double(x[i]));
        if (std::abs(want) < 1e-36 && !std::isnan(want)) {
          EXPECT_LT(std::abs(y[i] - want), 1e-36) << c.name << "(" << x[i] << ")";
        } else if (const double off = ulps(y[i], want); off > worst) {
          worst = off, at = x[i];
        }
      }
      EXPECT_LE(worst, c.bound) << c.name << "(" << at << ")";
    }
}

TEST(Elementwise, RowsOfAnyLength) {
  for (const auto* table : tables())
    for (std::int64_t n = 0; n < 100; ++n) {
      std::vector<float> x(std::size_t(n) + 1, 77.0f), y(x.size(), 55.0f), z(x);
      double sum = 0, squares = 0, exps = 0, top = -infinity;
      for (std::int64_t i = 0; i < n; ++i) {
        const float value = float((i * 37 % 19) - 9) / 4;
        x[std::size_t(i)] = value, z[std::size_t(i)] = float(i % 5) - 2;
        sum += value, squares += (value - 0.25) * (value - 0.25), top = std::max(top, double(value));
      }
      for (std::int64_t i = 0; i < n; ++i) exps += std::exp(double(x[std::size_t(i)]) - 2.0);
      EXPECT_EQ(table->sum(x.data(), n), sum);
      EXPECT_EQ(table->squares(x.data(), n, 0.25), squares);
      EXPECT_EQ(table->largest(x.data(), n), float(top));
      EXPECT_NEAR(table->exp_sum(x.data(), n, 2, y.data()), exps, 1e-6 * exps);
      for (const auto& [s, t] : {std::pair{1, 1}, {0, 1}, {1, 0}, {0, 0}}) {
        if (n == 0) continue;
        table->sub(x.data(), s, z.data(), t, n, y.data());
        for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(y[std::size_t(i)], x[std::size_t(i * s)] - z[std::size_t(i * t)]);
      }
      table->normalise(x.data(), n, 0.5, 2, z.data(), x.data(), y.data());
      for (std::int64_t i = 0; i < n; ++i)
        EXPECT_EQ(y[std::size_t(i)], (x[std::size_t(i)] - 0.5f) * 2 * z[std::size_t(i)] + x[std::size_t(i)]);
      EXPECT_EQ(y[std::size_t(n)], 55.0f) << "written behind the end";
      std::vector<double> sums(std::size_t(n), 1.0);
      table->add_rows(x.data(), 1, n, n, sums.data());
      table->add_rows(z.data(), 1, n, n, sums.data());
      for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(sums[std::size_t(i)], 1.0 + double(x[std::size_t(i)]) + double(z[std::size_t(i)]));
    }
}

TEST(Elementwise, StrangeNumbers) {
  for (const auto* table : tables())
    for (std::int64_t place = 0; place < 90; ++place) {
      std::vector<float> x(90, 1.0f), y(90);
      x[std::size_t(place)] = odd;
      EXPECT_TRUE(std::isnan(table->largest(x.data(), 90)));
      const float two = 2;
      table->max(x.data(), 1, &two, 0, 90, y.data());
      for (std::int64_t i = 0; i < 90; ++i) EXPECT_TRUE(i == place ? std::isnan(y[std::size_t(i)]) : y[std::size_t(i)] == 2);
      table->min(&two, 0, x.data(), 1, 90, y.data());
      for (std::int64_t i = 0; i < 90; ++i) EXPECT_TRUE(i == place ? std::isnan(y[std::size_t(i)]) : y[std::size_t(i)] == 1);
      x[std::size_t(place)] = -infinity;
      EXPECT_EQ(table->largest(x.data(), 90), 1);
      table->exp(x.data(), 90, y.data());
      EXPECT_EQ(y[std::size_t(place)], 0);
    }
}

TEST(Elementwise, TheSameSumsOnEveryInstructionSet) {
  std::vector<float> x(1001);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(float(i)) * std::exp(float(i % 40));
  for (std::int64_t n : {1, 31, 32, 33, 517, 1001})
    for (const auto* table : tables()) {
      EXPECT_EQ(table->sum(x.data(), n), kernel::elements_avx2.sum(x.data(), n));
      EXPECT_EQ(table->squares(x.data(), n, 0.1), kernel::elements_avx2.squares(x.data(), n, 0.1));
    }
}

}  // namespace
