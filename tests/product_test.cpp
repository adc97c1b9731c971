// SPDX-License-Identifier: Apache-2.0
// The f32 product on every instruction set, any strides, against a double loop.
#include "kernel/product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "isa/isa.h"

namespace {
using namespace heed;

struct Operand {
  std::vector<float> values;
  product::Matrix matrix;

  /// [rows, columns]: row-major, column-major, or with a gap between all elements.
  Operand(std::int64_t rows, std::int64_t columns, int kind, unsigned seed)
      : values(std::size_t(3 * rows * columns + 5 * (rows + columns) + 1)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& v : values) v = normal(random);
    matrix.data = values.data();
    if (kind == 0)
      matrix.row = columns + 3, matrix.column = 1;
    else if (kind == 1)
      matrix.row = 1, matrix.column = rows + 5;
    else
      matrix.row = 3 * columns, matrix.column = 3;
  }
  double at(std::int64_t i, std::int64_t j) const { return matrix.data[i * matrix.row + j * matrix.column]; }
};

TEST(Product, EveryInstructionSetAndStride) {
  for (const std::int64_t m : {1, 2, 4, 5, 26, 100})
    for (const std::int64_t n : {1, 16, 37, 150})
      for (const std::int64_t k : {0, 1, 19, 300, 530})
        for (int kinds = 0; kinds < 9; ++kinds) {
          const Operand a(m, k, kinds % 3, 1), b(k, n, kinds / 3, 2);
          std::vector<double> want(std::size_t(m * n)), bound(want.size());
          for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j)
              for (std::int64_t p = 0; p < k; ++p) {
                const double x = a.at(i, p) * b.at(p, j);
                want[std::size_t(i * n + j)] += x, bound[std::size_t(i * n + j)] += std::fabs(x);
              }
          std::vector<float> first;
          for (const Isa isa : isa::all) {
            if (!runs_here(isa) || isa == Isa::amx_emulated || (isa == Isa::avx512_bf16_emulated && (m > 26 || m * n * k > 30000)))
              continue;
            for (const int threads : {1, 2}) {
              std::vector<float> out(std::size_t(m * (n + 1)), -7.0f);
              Context context;
              context.isa = isa, context.threads = threads;
              product::run(context, product::loops_of(context.isa), 1, m, n, k, [&](std::int64_t) {
                return product::Job{a.matrix, b.matrix, out.data(), n + 1};
              });
              int wrong = 0;
              for (std::int64_t i = 0; i < m; ++i) {
                for (std::int64_t j = 0; j < n; ++j)  // 256 terms of a chain, then the chains
                  if (!(std::fabs(out[std::size_t(i * (n + 1) + j)] - want[std::size_t(i * n + j)]) <=
                        bound[std::size_t(i * n + j)] * 0x1p-24 * 260))
                    ++wrong;
                ASSERT_EQ(out[std::size_t(i * (n + 1) + n)], -7.0f);
              }
              ASSERT_EQ(wrong, 0) << name_of(isa) << " m " << m << " n " << n << " k " << k << " kinds " << kinds;
              if (first.empty()) first = out;
              ASSERT_EQ(std::memcmp(first.data(), out.data(), out.size() * sizeof(float)), 0) << name_of(isa) << " " << threads;
            }
          }
        }
}

}  // namespace
