// SPDX-License-Identifier: Apache-2.0
#include "kernel/product.h"

#include <immintrin.h>

#include <algorithm>
#include <memory>
#include <new>

namespace heed::product {
namespace {
constexpr std::int64_t tile_rows = 6, tile_columns = 16, depth = 256;
}

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {

/// tile[6, 16] = a panel [k][6] times b panel [k][16], added to what is in `out` when `add`.
__attribute__((noinline)) void tile(const float* a, const float* b, std::int64_t k, float* out, std::int64_t out_row, bool add) {
  __m256 sum[6][2];
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
  for (std::int64_t p = 0; p < k; ++p, a += 6, b += 16) {
    const __m256 left = _mm256_loadu_ps(b), right = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const __m256 value = _mm256_broadcast_ss(a + i);
      sum[i][0] = _mm256_fmadd_ps(value, left, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(value, right, sum[i][1]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) {
    float* row = out + i * out_row;
    if (add) {
      sum[i][0] = _mm256_add_ps(_mm256_loadu_ps(row), sum[i][0]);
      sum[i][1] = _mm256_add_ps(_mm256_loadu_ps(row + 8), sum[i][1]);
    }
    _mm256_storeu_ps(row, sum[i][0]);
    _mm256_storeu_ps(row + 8, sum[i][1]);
  }
}

}  // namespace avx2
#pragma GCC pop_options

namespace {

/// Panels of `width` lanes, [panel][k][width], zero past the end. Lanes are `lane` apart, steps along k `step` apart.
void pack(const float* from, std::int64_t lane, std::int64_t step, std::int64_t lanes, std::int64_t k, std::int64_t width, float* to) {
  for (std::int64_t first = 0; first < lanes; first += width, to += width * k) {
    const std::int64_t here = std::min(width, lanes - first);
    const float* source = from + first * lane;
    if (here < width) std::fill(to, to + width * k, 0.0f);
    if (lane == 1) {
      for (std::int64_t p = 0; p < k; ++p) std::copy(source + p * step, source + p * step + here, to + p * width);
    } else {
      for (std::int64_t p = 0; p < k; p += 16)  // a cache line of each lane at a time
        for (std::int64_t l = 0; l < here; ++l)
          for (std::int64_t e = p; e < std::min(p + 16, k); ++e) to[e * width + l] = source[l * lane + e * step];
    }
  }
}

std::int64_t up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Blocks blocks_of(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n) {
  Blocks cut{384, 512, 0, 0};
  const std::int64_t wanted = 4 * base::thread_count(threads);
  for (;;) {
    cut.row_blocks = (m + cut.rows - 1) / cut.rows;
    cut.column_blocks = (n + cut.columns - 1) / cut.columns;
    if (jobs * cut.row_blocks * cut.column_blocks >= wanted) return cut;
    if (cut.rows > 96 && m > 96) cut.rows /= 2;
    else if (cut.columns > 64 && n > 64) cut.columns /= 2;
    else return cut;
  }
}

void block(const Job& job, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns, std::int64_t k) {
  float* out = job.out + row * job.out_row + column;
  if (k == 0)
    for (std::int64_t i = 0; i < rows; ++i) std::fill(out + i * job.out_row, out + i * job.out_row + columns, 0.0f);
  const std::int64_t deep = std::min(k, depth);
  const std::unique_ptr<float[]> a(new float[std::size_t(up(rows, tile_rows) * deep)]);
  const std::unique_ptr<float[]> b(new float[std::size_t(up(columns, tile_columns) * deep)]);
  for (std::int64_t p = 0; p < k; p += depth) {
    const std::int64_t here = std::min(depth, k - p);
    pack(job.a.data + row * job.a.row + p * job.a.column, job.a.row, job.a.column, rows, here, tile_rows, a.get());
    pack(job.b.data + column * job.b.column + p * job.b.row, job.b.column, job.b.row, columns, here, tile_columns, b.get());
    for (std::int64_t j = 0; j < columns; j += tile_columns) {
      for (std::int64_t i = 0; i < rows; i += tile_rows) {
        float* corner = out + i * job.out_row + j;
        const float *left = a.get() + i * here, *right = b.get() + j * here;
        const std::int64_t high = std::min(tile_rows, rows - i), wide = std::min(tile_columns, columns - j);
        if (high == tile_rows && wide == tile_columns) {
          avx2::tile(left, right, here, corner, job.out_row, p > 0);
          continue;
        }
        float part[tile_rows * tile_columns];
        avx2::tile(left, right, here, part, tile_columns, false);
        for (std::int64_t r = 0; r < high; ++r)
          for (std::int64_t c = 0; c < wide; ++c) {
            float& to = corner[r * job.out_row + c];
            to = p > 0 ? to + part[r * tile_columns + c] : part[r * tile_columns + c];
          }
      }
    }
  }
}

}  // namespace heed::product
