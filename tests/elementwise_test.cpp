// SPDX-License-Identifier: Apache-2.0
// The loops of kernel/elementwise.h against f64, on every instruction set that this machine has.
#include "kernel/elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
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

/// Every `step`-th float.
std::vector<float> floats(std::uint64_t step) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < 0x100000000u; bits += step) {
    const auto word = std::uint32_t(bits);
    float value;
    std::memcpy(&value, &word, sizeof value);
    x.push_back(value);
  }
  return x;
}

/// y = f(x) within `bound` units of the last place.
void expect_close(const std::string& name, const std::vector<float>& x, const std::vector<float>& y, const std::function<double(double)>& f,
                  double bound) {
  double worst = 0;
  float at = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double want = f(double(x[i]));
    if (std::abs(want) < 1e-36 && !std::isnan(want)) {
      EXPECT_LT(std::abs(y[i] - want), 1e-36) << name << "(" << x[i] << ")";
    } else if (const double off = ulps(y[i], want); off > worst) {
      worst = off, at = x[i];
    }
  }
  EXPECT_LE(worst, bound) << name << "(" << at << ")";
}

TEST(Elementwise, FunctionsOverAllFloats) {
  const struct {
    const char* name;
    ElementTable::Map ElementTable::*loop;
    std::function<double(double)> f;
    double bound;
  } cases[] = {{"exp", &ElementTable::exp, [](double x) { return std::exp(x); }, 1},
               {"tanh", &ElementTable::tanh, [](double x) { return std::tanh(x); }, 1.5},
               {"sigmoid", &ElementTable::sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, 2},
               {"erf", &ElementTable::erf, [](double x) { return std::erf(x); }, 1.5},
               {"silu", &ElementTable::silu, [](double x) { return x / (1 + std::exp(-x)); }, 2},
               {"gelu", &ElementTable::gelu, [](double x) { return x * std::erfc(-x * 0.70710678118654752440) / 2; }, 4},
               {"log", &ElementTable::log, [](double x) { return std::log(x); }, 1},
               {"log1p", &ElementTable::log1p, [](double x) { return std::log1p(x); }, 1},
               {"softplus", &ElementTable::softplus, [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }, 2},
               {"sin", &ElementTable::sin, [](double x) { return std::sin(x); }, 2},
               {"cos", &ElementTable::cos, [](double x) { return std::cos(x); }, 2},
               {"sqrt", &ElementTable::sqrt, [](double x) { return std::sqrt(x); }, 0.5},
               {"rsqrt", &ElementTable::rsqrt, [](double x) { return 1 / std::sqrt(x); }, 1.5},
               {"cube", &ElementTable::cube, [](double x) { return x * x * x; }, 1.5},
               {"abs", &ElementTable::abs, [](double x) { return std::abs(x); }, 0},
               {"sign", &ElementTable::sign, [](double x) { return double(x > 0) - double(x < 0); }, 0}};
  const std::vector<float> x = floats(2003);
  std::vector<float> y(x.size());
  for (const auto* table : tables())
    for (const auto& c : cases) {
      (table->*c.loop)(x.data(), std::int64_t(x.size()), y.data());
      expect_close(c.name, x, y, c.f, c.bound);
    }
}

TEST(Elementwise, CurvesOverAllFloats) {
  const struct {
    const char* name;
    ElementTable::Curve ElementTable::*loop;
    float a, b;
    std::function<double(double)> f;
    double bound;
  } cases[] = {{"leaky", &ElementTable::leaky, 0.1f, 0, [](double x) { return x > 0 ? x : x * double(0.1f); }, 0.5},
               {"elu", &ElementTable::elu, 1, 0, [](double x) { return x > 0 ? x : std::expm1(x); }, 2},
               {"clamp", &ElementTable::clamp, -2, 5, [](double x) { return x < -2  ? -2
                                                                            : x > 5 ? 5
                                                                                    : x; }, 0},
               {"power", &ElementTable::power, 0.7f, 0, [](double x) { return std::pow(x, double(0.7f)); }, 1},
               {"power", &ElementTable::power, -2.5f, 0, [](double x) { return std::pow(x, -2.5); }, 1},
               {"power", &ElementTable::power, 5, 0, [](double x) { return std::pow(x, 5.0); }, 1}};
  const std::vector<float> x = floats(10007);
  std::vector<float> y(x.size());
  for (const auto* table : tables())
    for (const auto& c : cases) {
      (table->*c.loop)(x.data(), std::int64_t(x.size()), c.a, c.b, y.data());
      expect_close(std::string(c.name) + " of " + std::to_string(c.a), x, y, c.f, c.bound);
    }
}

TEST(Elementwise, MasksOfAnyLength) {
  for (const auto* table : tables())
    for (std::int64_t n = 1; n < 70; ++n) {
      std::vector<float> x(std::size_t(n), 0), y(x), to(x);
      std::vector<std::uint8_t> less(x.size() + 1, 7), equal(less);
      for (std::int64_t i = 0; i < n; ++i) x[std::size_t(i)] = float(i % 7), y[std::size_t(i)] = i % 5 ? float(i % 3) : odd;
      for (const auto& [s, t] : {std::pair{1, 1}, {0, 1}, {1, 0}, {0, 0}}) {
        table->less(x.data(), s, y.data(), t, n, less.data());
        table->equal(x.data(), s, y.data(), t, n, equal.data());
        table->choose(less.data(), x.data(), s, y.data(), t, n, to.data());
        for (std::int64_t i = 0; i < n; ++i) {
          const float a = x[std::size_t(i * s)], b = y[std::size_t(i * t)], chosen = a < b ? a : b;
          EXPECT_EQ(less[std::size_t(i)], a < b);
          EXPECT_EQ(equal[std::size_t(i)], a == b);
          EXPECT_EQ(std::memcmp(&to[std::size_t(i)], &chosen, sizeof chosen), 0);
        }
        EXPECT_EQ(less.back(), 7);
        EXPECT_EQ(equal.back(), 7);
      }
    }
}

TEST(Elementwise, ColumnsOfAnyWidth) {
  for (const auto* table : tables())
    for (const std::int64_t rows : {1, 5, 40})
      for (std::int64_t n = 1; n < 300; n += n < 40 ? 1 : 13) {
        const std::int64_t stride = n + 3;
        std::vector<float> x(std::size_t(rows * stride)), most(std::size_t(n), -infinity), least(std::size_t(n), infinity), y(x.size()),
            z(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = float((i * 37) % 64) / 8 - 4;
        if (n > 4) x[std::size_t(rows / 2 * stride + 4)] = odd;
        std::vector<double> sums(std::size_t(n), 0), running(sums), exps(sums);
        std::vector<std::int64_t> place(std::size_t(n), -1);
        std::vector<float> halves(std::size_t(n) + 1, 55.0f);
        table->add_rows(x.data(), rows, stride, n, sums.data());
        table->sum_rows(x.data(), rows, stride, n, 0.5, halves.data());
        EXPECT_EQ(halves.back(), 55.0f) << "written behind the end";
        table->run_rows(x.data(), rows, stride, n, running.data(), y.data());
        table->largest_rows(x.data(), rows, stride, n, most.data());
        table->smallest_rows(x.data(), rows, stride, n, least.data());
        table->find_rows(x.data(), rows, stride, n, most.data(), place.data());
        table->exp_rows(x.data(), rows, stride, n, most.data(), exps.data(), z.data());
        for (std::int64_t c = 0; c < n; ++c) {
          const auto at = std::size_t(c);
          double sum = 0, total = 0;
          float high = -infinity, low = infinity;
          std::int64_t first = 0;
          for (std::int64_t r = 0; r < rows; ++r) {
            const float v = x[std::size_t(r * stride + c)];
            sum += double(v);
            if (v > high || v != v) high = v, first = r;
            low = v < low || v != v ? v : low;
            if (v == v) EXPECT_EQ(y[std::size_t(r * stride + c)], float(sum));
            if (v != v) break;
          }
          EXPECT_EQ(place[at], first);
          if (high != high) {
            EXPECT_TRUE(std::isnan(most[at]) && std::isnan(least[at]) && std::isnan(sums[at]) && std::isnan(running[at]) &&
                        std::isnan(exps[at]));
            continue;
          }
          for (std::int64_t r = 0; r < rows; ++r) {
            const double e = std::exp(double(x[std::size_t(r * stride + c)]) - double(high));
            EXPECT_NEAR(z[std::size_t(r * stride + c)], e, 1e-6 * e);
            total += e;
          }
          EXPECT_EQ(most[at], high);
          EXPECT_EQ(least[at], low);
          EXPECT_EQ(sums[at], sum);
          EXPECT_EQ(halves[at], float(sum / 2));
          EXPECT_EQ(running[at], sum);
          EXPECT_NEAR(exps[at], total, 1e-6 * total);
        }
      }
}

TEST(Elementwise, RowsThatIndicesName) {
  for (const auto* table : tables())
    for (std::int64_t n = 1; n < 150; n += n < 40 ? 1 : 13) {
      const std::int64_t rows = 30, places = 7;
      const auto size = std::size_t(rows * n);
      std::vector<float> x(size), sum(std::size_t(places * n), 1), most(sum.size(), -infinity), power(size), share(size),
          weight(std::size_t(rows), 0);
      std::vector<std::int64_t> from(std::size_t(rows), 0), to(from);
      for (std::size_t i = 0; i < size; ++i) x[i] = float((i * 37) % 64) / 8 - 4;
      for (std::int64_t r = 0; r < rows; ++r)
        from[std::size_t(r)] = r * 11 % rows, to[std::size_t(r)] = r / 3 * 5 % places, weight[std::size_t(r)] = float(r % 4) / 2;
      for (const bool whole : {true, false}) {
        std::vector<float> want_sum(sum.size(), 1), want_most(most);
        std::fill(sum.begin(), sum.end(), 1.0f), std::fill(most.begin(), most.end(), -infinity),
            std::fill(want_most.begin(), want_most.end(), -infinity);
        table->add_at(x.data(), whole ? nullptr : from.data(), whole ? nullptr : weight.data(), rows, n, n, to.data(), sum.data());
        table->largest_at(x.data(), whole ? nullptr : from.data(), nullptr, rows, n, n, to.data(), most.data());
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t c = 0; c < n; ++c) {
            const float v = x[std::size_t((whole ? r : from[std::size_t(r)]) * n + c)];
            const auto at = std::size_t(to[std::size_t(r)] * n + c);
            want_sum[at] += whole ? v : v * weight[std::size_t(r)];
            want_most[at] = std::max(want_most[at], v);
          }
        EXPECT_EQ(sum, want_sum);
        EXPECT_EQ(most, want_most);
      }
      std::vector<float> total(sum.size());
      for (std::size_t i = 0; i < total.size(); ++i) total[i] = 1 + std::abs(sum[i]);
      const std::int64_t empty = to[1];  // a place with nothing but -inf
      for (std::int64_t r = 0; r < rows; ++r)
        if (to[std::size_t(r)] == empty) x[std::size_t(r * n)] = -infinity;
      most[std::size_t(empty * n)] = -infinity, total[std::size_t(empty * n)] = 0;
      table->exp_at(x.data(), most.data(), to.data(), rows, n, power.data());
      table->share_at(power.data(), total.data(), to.data(), rows, n, share.data());
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < n; ++c) {
          const auto at = std::size_t(r * n + c), by = std::size_t(to[std::size_t(r)] * n + c);
          const double want = total[by] == 0 ? 0 : std::exp(double(x[at]) - double(most[by]));
          EXPECT_NEAR(power[at], want, 1e-6 * want);
          EXPECT_EQ(share[at], total[by] == 0 ? 0 : power[at] / total[by]);
        }
      EXPECT_TRUE(table->below(to.data(), rows, places));
      EXPECT_FALSE(table->below(to.data(), rows, places - 1));
      to[std::size_t(n % rows)] = -1;
      EXPECT_FALSE(table->below(to.data(), rows, places));
    }
}

TEST(Elementwise, RowsOfAnyLength) {
  for (const auto* table : tables())
    for (std::int64_t n = 0; n < 100; ++n) {
      std::vector<float> x(std::size_t(n) + 1, 77.0f), y(x.size(), 55.0f), z(x);
      double sum = 0, squares = 0, exps = 0, top = -infinity, low = infinity;
      for (std::int64_t i = 0; i < n; ++i) {
        const float value = float((i * 37 % 19) - 9) / 4;
        x[std::size_t(i)] = value, z[std::size_t(i)] = float(i % 5) - 2;
        sum += value, squares += (value - 0.25) * (value - 0.25), top = std::max(top, double(value)), low = std::min(low, double(value));
      }
      for (std::int64_t i = 0; i < n; ++i) exps += std::exp(double(x[std::size_t(i)]) - 2.0);
      EXPECT_EQ(table->sum(x.data(), n), sum);
      EXPECT_EQ(table->squares(x.data(), n, 0.25), squares);
      EXPECT_EQ(table->largest(x.data(), n), float(top));
      EXPECT_EQ(table->smallest(x.data(), n), float(low));
      EXPECT_EQ(table->find(x.data(), n, float(low)), std::find(x.begin(), x.begin() + n, float(low)) - x.begin());
      EXPECT_EQ(table->find(x.data(), n, 99), n);
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

TEST(Elementwise, RowsTogether) {
  for (const auto* table : tables())
    for (const std::int64_t rows : {1, 3, 16, 37})
      for (const std::int64_t n : {1, 5, 16, 56, 64, 197, 300}) {
        std::vector<float> x(std::size_t(rows * n)), y(x.size() + 1, 55.0f), z(y);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = float((i * 37) % 101) / 8 - 4;
        for (std::int64_t i = 0; rows > 1 && i < n; ++i) x[std::size_t(n + i)] = -infinity;  // a row of nothing
        if (rows > 2) x[std::size_t(2 * n)] = odd;
        std::vector<double> sums(std::size_t(rows), 0);
        table->sums(x.data(), rows, n, sums.data());
        table->softmax(x.data(), rows, n, y.data());
        table->log_softmax(x.data(), rows, n, z.data());
        EXPECT_EQ(y.back(), 55.0f) << "written behind the end";
        EXPECT_EQ(z.back(), 55.0f) << "written behind the end";
        for (std::int64_t r = 0; r < rows; ++r) {
          const float* row = x.data() + r * n;
          EXPECT_TRUE(sums[std::size_t(r)] == table->sum(row, n) || (r == 2 && std::isnan(sums[2])));
          double total = 0;
          for (std::int64_t i = 0; i < n; ++i) total += std::exp(double(row[i]));
          for (std::int64_t i = 0; i < n; ++i) {
            const double share = y[std::size_t(r * n + i)], log = z[std::size_t(r * n + i)];
            if (r == 1 && rows > 1) {
              EXPECT_TRUE(share == 0 && log == -infinity);
            } else if (r == 2) {
              EXPECT_TRUE(std::isnan(share) && std::isnan(log));
            } else {
              EXPECT_NEAR(share, std::exp(double(row[i])) / total, 3e-7 * share);
              EXPECT_NEAR(log, double(row[i]) - std::log(total), 3e-7 * (1 - log));
            }
          }
        }
      }
}

TEST(Elementwise, StrangeNumbers) {
  for (const auto* table : tables())
    for (std::int64_t place = 0; place < 90; ++place) {
      std::vector<float> x(90, 1.0f), y(90);
      x[std::size_t(place)] = odd;
      EXPECT_TRUE(std::isnan(table->largest(x.data(), 90)));
      EXPECT_TRUE(std::isnan(table->smallest(x.data(), 90)));
      EXPECT_EQ(table->find(x.data(), 90, odd), place);
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
  for (std::int64_t n : {1, 31, 32, 33, 64, 127, 517, 1001})
    for (const auto* table : tables()) {
      EXPECT_EQ(table->sum(x.data(), n), kernel::elements_avx2.sum(x.data(), n));
      EXPECT_EQ(table->squares(x.data(), n, 0.1), kernel::elements_avx2.squares(x.data(), n, 0.1));
      double rows[2], same[2];
      table->sums(x.data(), 2, n / 2, rows);
      kernel::elements_avx2.sums(x.data(), 2, n / 2, same);
      EXPECT_EQ(rows[0], same[0]);
      EXPECT_EQ(rows[1], same[1]);
    }
}

}  // namespace
