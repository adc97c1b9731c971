// SPDX-License-Identifier: Apache-2.0
#include "ops/pairs.h"

#include <algorithm>
#include <vector>

#include "kernel/product.h"
#include "kernel/table.h"
#include "ops/lanes.h"

namespace heed::ops {

const product::Loops* fast_loops(const Context& context) {
  return context.precision == Precision::fast ? product::paired_loops_of(context.isa) : nullptr;
}

Tensor pairs_of(const Context& context, const Tensor& x, std::int64_t outer, std::int64_t k, std::int64_t inner) {
  const auto& loops = product::loops_of(context.isa);
  const auto interleave = kernel::table_of(context.isa).interleave;
  const std::int64_t words = (k + 1) / 2;
  const Tensor out(DType::f32, {outer, words, inner});
  const float* from = x.raw<float>();
  if (inner == 1) {
    pieces(context.threads, outer, 16384 / (k + 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        auto* to = reinterpret_cast<std::uint16_t*>(out.raw<float>() + i * words);
        if (k % 2 == 1) to[k] = 0;
        loops.round(from + i * k, k, to);
      }
    });
    return out;
  }
  const std::int64_t wide = (inner + 15) / 16 * 16, some = 1 + 2048 / (inner + 1);  // rows of words at a time
  pieces(context.threads, outer * words, 16384 / (inner + 1), [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint16_t> rounded(std::size_t(2 * some * inner + wide));
    std::vector<float> row(std::size_t{16});
    for (std::int64_t at = begin, count; at < end; at += count) {
      const std::int64_t i = at / words, j = at % words;
      count = std::min({some, end - at, words - j});
      const std::int64_t rows = std::min(2 * count, k - 2 * j);
      loops.round(from + (i * k + 2 * j) * inner, rows * inner, rounded.data());
      if (rows < 2 * count) std::fill_n(rounded.data() + rows * inner, inner, std::uint16_t{0});
      for (std::int64_t c = 0; c < count; ++c) {
        const std::uint16_t *low = rounded.data() + 2 * c * inner, *high = low + inner;
        float* to = out.raw<float>() + (at + c) * inner;
        const std::int64_t whole = inner / 16 * 16;
        if (whole > 0) interleave(low, high, whole, to);
        if (whole == inner) continue;
        interleave(low + whole, high + whole, 16, row.data());
        std::copy_n(row.data(), inner - whole, to + whole);
      }
    }
  });
  return out;
}

}  // namespace heed::ops
