// SPDX-License-Identifier: Apache-2.0
// Rows moved and added up by indices: what gather, scatter, segments and bags share.
#pragma once
#include <atomic>

#include "heed/context.h"
#include "kernel/elementwise.h"
#include "ops/copy.h"
#include "ops/lanes.h"

namespace heed::ops {

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

/// out [outer, extent, inner] = start, then reduce(row `from[e]` (null: e) of x [outer, cut.extent, inner]) into row to(o)[e] for each o
/// of outer, e < `entries` (cut.extent where from is null) in order; tasks share out lanes and columns.
template <class To>
void reduce_rows(const Context& context, kernel::ElementTable::At reduce, const float* x, const Lanes& cut, const std::int64_t* from,
                 const float* weight, std::int64_t extent, float start, To&& to, float* out, std::int64_t entries = -1) {
  if (entries < 0) entries = cut.extent;
  const std::int64_t inner = cut.inner, whole = std::max<std::int64_t>(inner, 1);
  const std::int64_t block = inner <= 32 || entries * inner < 32768 ? whole : (inner <= 128 ? std::max<std::int64_t>(32, (inner + 1) / 2) : std::max<std::int64_t>(128, inner / 8 / 32 * 32));
  const std::int64_t blocks = (inner + block - 1) / block;
  pieces(context.threads, cut.outer * blocks, 16384 / std::max<std::int64_t>(1, (entries + extent) * std::min(inner, block)),
         [&](std::int64_t begin, std::int64_t end) {
           for (std::int64_t job = begin; job < end; ++job) {
             const std::int64_t o = job / blocks, c = job % blocks * block, wide = std::min(block, inner - c);
             float* first = out + o * extent * inner + c;
             if (blocks == 1)
               fill(first, extent * inner, start);
             else
               for (std::int64_t e = 0; e < extent; ++e) fill(first + e * inner, wide, start);
             reduce(x + o * cut.extent * inner + c, from, weight, entries, inner, wide, to(o), first);
           }
         });
}

}  // namespace heed::ops
