// SPDX-License-Identifier: Apache-2.0
// Matrix products: the loops of each instruction set over packed panels, and the f32 product behind linear and matmul.
//
// A panel holds 16 columns of B (outputs of a weight). Each element of a product is summed in an order that depends on its depth
// alone, so neither the number of rows, nor blocking, nor threads change a bit.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/parallel.h"
#include "heed/context.h"

namespace heed::product {

inline constexpr std::int64_t panel = 16;     ///< columns
inline constexpr std::int64_t depth = 256;    ///< products summed apart before they are added to the others, f32
inline constexpr std::int64_t most_rows = 6;  ///< of a micro-kernel

/// How a panel of k channels lies in memory. Codes of 4 channels x 16 columns are 64 bytes: 8-bit codes (+128) of 4 channels a column,
/// or 4-bit codes of 8, the second 4 in the high nibbles. Scales follow all codes of the panel, minima all scales: 16 of them for each
/// group of channels.
enum class Layout : std::uint8_t {
  f32,      ///< [k][16]
  f16,      ///< [k][16]
  bf16,     ///< [k / 2][16][2], zero past k
  q4,       ///< 4-bit, value (q - 8) d; d f16, 32 channels
  q4_min,   ///< 4-bit, value q d + m; d, m f16, 32 channels
  q4_wide,  ///< the same, d and m f32
  q8,       ///< 8-bit, value q d; d f16, 32 channels
  q8_min,   ///< 8-bit, value q d + m; d, m f16, 32 channels
  q8_wide,  ///< the same, d and m f32
  q8_half,  ///< 8-bit, value q d; d f32, 16 channels
};
inline constexpr int layouts = 10;

struct Form {
  int bits;      ///< of a code; 16 and 32: floats
  int channels;  ///< of a scale
  int scale;     ///< bytes of a scale
  bool min;      ///< minima are stored
};
inline constexpr Form forms[layouts] = {{32, 1, 0, false}, {16, 1, 0, false}, {16, 2, 0, false}, {4, 32, 2, false}, {4, 32, 2, true},
                                        {4, 32, 4, true},  {8, 32, 2, false}, {8, 32, 2, true},  {8, 32, 4, true},  {8, 16, 4, false}};
constexpr Form form_of(Layout layout) { return forms[int(layout)]; }
constexpr bool is_quantised(Layout layout) { return layout >= Layout::q4; }
constexpr std::int64_t code_bytes(Layout layout, std::int64_t k) {
  const Form f = form_of(layout);
  return (k + (layout == Layout::bf16 ? k % 2 : 0)) * panel * f.bits / 8;
}
constexpr std::int64_t scale_bytes(Layout layout, std::int64_t k) { return k / form_of(layout).channels * panel * form_of(layout).scale; }
constexpr std::int64_t panel_bytes(Layout layout, std::int64_t k) {
  const std::int64_t size = code_bytes(layout, k) + scale_bytes(layout, k) * (form_of(layout).min ? 2 : 1);
  return (size + 63) / 64 * 64;
}

/// Element (i, p) of A is data[i / 6 * group + i % 6 * row + p * step].
struct Left {
  const float* data;
  std::int64_t row, step, group;
};

/// Rows of 8-bit integers, blocks of 32 channels: x = scale * q, |q| <= 127.
struct Rows {
  std::int8_t* q;
  float* scale;                ///< a block
  float* sum;                  ///< a block: scale * (sum of q)
  std::int32_t *minus, *half;  ///< -128 * (sum of q) of a block, of each 16 channels
  std::int64_t k;              ///< channels of a row; the others have k / 32 (half: k / 16) entries a row

  Rows from(std::int64_t row) const {
    const std::int64_t b = row * (k / 32);
    return {q + row * k, scale + b, sum + b, minus + b, half + 2 * b, k};
  }
};

/// c[rows, columns] = A B, added to c when `adding`. Panel j of B begins at b + j * apart, its rows are `next` floats apart.
using Product = void (*)(const Left& a, const float* b, std::int64_t next, std::int64_t apart, std::int64_t depth, std::int64_t rows,
                         std::int64_t columns, float* c, std::int64_t ldc, bool adding);
/// y[rows, columns] = a W^T from integer products.
using Dots = void (*)(const Rows& a, std::int64_t rows, const std::uint8_t* w, std::int64_t apart, std::int64_t columns, float* y,
                      std::int64_t ldy);
/// Channels [from, from + count) of a panel of k in f32, to[count][16]; `from` a multiple of 32.
using Expand = void (*)(const std::uint8_t* w, std::int64_t k, std::int64_t from, std::int64_t count, float* to);

/// c[rows, columns] (+)= A B over channels [from, from + count) of panels of k, widened in registers: for few rows. Same bits as Expand
/// and Product. a.data is at channel `from`, a.step is 1.
using Thin = void (*)(const Left& a, std::int64_t rows, const std::uint8_t* w, std::int64_t apart, std::int64_t k, std::int64_t from,
                      std::int64_t count, std::int64_t columns, float* c, std::int64_t ldc, bool adding);

struct Loops {
  Product f32;
  /// One or two rows (of floats), whole panels; columns of B contiguous and `ld` apart. Same bits as f32.
  void (*turned)(const Left& a, const float* b, std::int64_t ld, std::int64_t depth, std::int64_t rows, std::int64_t columns, float* c,
                 std::int64_t ldc, bool adding);
  Product bf16;                                      ///< a float is a pair of bf16; null where there is no instruction for it
  Expand expand[layouts];                            ///< none for f32
  Thin thin[layouts];                                ///< none for f32
  Dots dots[layouts];                                ///< none for floats
  void (*quantise)(const float* x, const Rows& to);  ///< one row
  void (*round)(const float* x, std::int64_t n, std::uint16_t* to);             ///< to bf16, nearest even
  void (*pack)(const float* from, std::int64_t ld, std::int64_t n, float* to);  ///< 16 rows of n to [n][16]
};

/// `count` floats of the calling thread, at a cache line's boundary; kept for its next task.
float* scratch(std::int64_t count);

/// The loops of an instruction set, lower ones where it has none of its own.
const Loops& loops_of(Isa isa);

/// The same with products of words, two bf16 each, in the place of `f32`; null where there is no instruction for them.
const Loops* paired_loops_of(Isa isa);

/// One operand: element (i, j) is data[i * row + j * column].
struct Matrix {
  const float* data;
  std::int64_t row, column;
};

/// out[m, n] = a[m, k] b[k, n]; rows of out are `out_row` apart.
struct Job {
  Matrix a, b;
  float* out;
  std::int64_t out_row;
};

struct Blocks {
  std::int64_t rows, columns, row_blocks, column_blocks;
};
Blocks blocks_of(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n);

/// The block of out at [row, row + rows) x [column, column + columns).
void block(const Loops& loops, const Job& job, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
           std::int64_t k);

/// Every job has the extents m, n, k; `job(i)` gives the i-th of `jobs`.
template <class F>
void run(const Context& context, const Loops& loops, std::int64_t jobs, std::int64_t m, std::int64_t n, std::int64_t k, F&& job) {
  if (jobs == 0 || m == 0 || n == 0) return;
  const Blocks cut = blocks_of(context.threads, jobs, m, n);
  const std::int64_t each = cut.row_blocks * cut.column_blocks;
  base::parallel(context.threads, jobs * each, [&](std::int64_t task, int) {
    const std::int64_t row = task % each / cut.column_blocks * cut.rows, column = task % each % cut.column_blocks * cut.columns;
    block(loops, job(task / each), row, row + cut.rows < m ? cut.rows : m - row, column,
          column + cut.columns < n ? cut.columns : n - column, k);
  });
}

}  // namespace heed::product
