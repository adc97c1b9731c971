// SPDX-License-Identifier: Apache-2.0
// Rows moved and added up by indices: what gather, scatter, segments and bags share.
#pragma once
#include <atomic>
#include <vector>

#include "heed/context.h"
#include "kernel/elementwise.h"
#include "base/copy.h"
#include "ops/lanes.h"

namespace heed::ops {
using base::copy_bytes, base::fill;

/// Dense i64 indices, each in [0, limit).
inline Tensor indices(const Context& context, const Tensor& index, std::int64_t limit, const char* name = "index") {
  need(index, DType::i64, name);
  const Tensor dense = index.dense();
  const auto* at = dense.raw<std::int64_t>();
  std::atomic<bool> wrong{false};
  pieces(context.threads, index.count(), 16384, [&](std::int64_t begin, std::int64_t end) {
    if (!kernel::elements_of(context.isa).below(at + begin, end - begin, limit)) wrong = true;
  });
  if (wrong)
    for (std::int64_t i = 0; i < index.count(); ++i)
      if (at[i] < 0 || at[i] >= limit) fail(name, "0 to " + std::to_string(limit - 1), std::to_string(at[i]));
  return dense;
}

/// out [outer, extent, inner] = start, then reduce(rows of x [outer, cut.extent, inner]) into row to(o)[e] for each o of outer, e in order.
/// Tasks are lanes; where those are too few, ranges of rows of `out`, each of which picks what goes there: two threads that write columns
/// of one row would take its lines from each other.
template <class To>
void reduce_rows(const Context& context, kernel::ElementTable::At reduce, const float* x, const Lanes& cut, std::int64_t extent,
                 float start, To&& to, float* out) {
  const std::int64_t inner = cut.inner, size = cut.extent * inner, ranges = base::thread_count(context.threads);
  if (cut.outer >= ranges || inner < 8 || size < 32768) {
    pieces(context.threads, cut.outer, 16384 / std::max<std::int64_t>(1, size + extent * inner), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        fill(out + o * extent * inner, extent * inner, start);
        reduce(x + o * size, nullptr, nullptr, cut.extent, inner, inner, to(o), out + o * extent * inner);
      }
    });
    return;
  }
  base::parallel(context.threads, cut.outer * ranges, [&](std::int64_t job, int) {
    const std::int64_t o = job / ranges, low = extent * (job % ranges) / ranges, high = extent * (job % ranges + 1) / ranges;
    const std::int64_t* place = to(o);
    float* first = out + o * extent * inner;
    fill(first + low * inner, (high - low) * inner, start);
    std::vector<std::int64_t> from(std::size_t(cut.extent)), here(from.size());
    std::size_t n = 0;
    for (std::int64_t e = 0; e < cut.extent; ++e) {
      from[n] = e, here[n] = place[e];
      n += std::size_t((place[e] >= low) & (place[e] < high));
    }
    reduce(x + o * size, from.data(), nullptr, std::int64_t(n), inner, inner, here.data(), first);
  });
}

}  // namespace heed::ops
