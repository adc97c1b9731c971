// SPDX-License-Identifier: Apache-2.0
// The f32 matrix product behind linear and matmul: packed blocks, a 6x16 micro-kernel.
#pragma once
#include <cstdint>

namespace heed::product {

/// One operand: element (i, j) is data[i * row + j * column].
struct Matrix {
  const float* data;
  std::int64_t row, column;
};

/// out[m, n] = a[m, k] b[k, n]; rows of out are `out_row` apart. Each element is summed in an order that depends on k alone.
struct Job {
  Matrix a, b;
  float* out;
  std::int64_t out_row;
};

/// Every job has the extents m, n, k; `job(i)` gives the i-th of `jobs`.
template <class F>
void run(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n, std::int64_t k, F&& job);

struct Blocks {
  std::int64_t rows, columns, row_blocks, column_blocks;
};
Blocks blocks_of(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n);

/// The block of out at [row, row + rows) x [column, column + columns).
void block(const Job& job, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns, std::int64_t k);

}  // namespace heed::product

#include "base/parallel.h"

namespace heed::product {
template <class F>
void run(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n, std::int64_t k, F&& job) {
  if (jobs == 0 || m == 0 || n == 0) return;
  const Blocks cut = blocks_of(threads, jobs, m, n);
  const std::int64_t each = cut.row_blocks * cut.column_blocks;
  base::parallel(threads, jobs * each, [&](std::int64_t task, int) {
    const std::int64_t row = task % each / cut.column_blocks * cut.rows, column = task % each % cut.column_blocks * cut.columns;
    block(job(task / each), row, row + cut.rows < m ? cut.rows : m - row, column, column + cut.columns < n ? cut.columns : n - column, k);
  });
}
}  // namespace heed::product
