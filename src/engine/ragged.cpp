// SPDX-License-Identifier: Apache-2.0
// Sequences one after another, told apart by cumulative lengths.
#include "base/parallel.h"
#include "engine/tiles.h"

namespace heed {
namespace engine {
namespace {

std::vector<std::int64_t> offsets_of(const char* name, const View& view, std::int64_t total) {
  if (view.dtype != DType::i64) fail(name, "i64", name_of(view.dtype));
  if (view.rank() != 1 || view.extent(0) < 1) fail(name, "[sequences + 1]", view.shape.text());
  if (view.data == nullptr) fail(name, "memory", "a null pointer");
  std::vector<std::int64_t> offsets;
  for (std::int64_t b = 0; b < view.extent(0); ++b) {
    offsets.push_back(static_cast<const std::int64_t*>(view.data)[b * view.stride(0)]);
    if (offsets.back() < (b == 0 ? 0 : offsets[std::size_t(b) - 1]) || (b == 0 && offsets[0] != 0))
      fail(name, "numbers from 0 that never fall", std::to_string(offsets.back()) + " at " + std::to_string(b));
  }
  if (offsets.back() != total) fail(name, "a last number of " + std::to_string(total), std::to_string(offsets.back()));
  return offsets;
}

/// Rows [begin, end) of (T, heads, width) as (1, rows, heads, width).
View rows_of(const View& all, std::int64_t begin, std::int64_t end) {
  View part = all;
  part.shape = {1, end - begin, all.extent(1), all.extent(2)};
  part.strides = {0, all.stride(0), all.stride(1), all.stride(2)};
  part.data = static_cast<char*>(all.data) + begin * all.stride(0) * std::int64_t(size_of(all.dtype));
  return part;
}

/// Columns [begin, end) of (H, T) as (1, H, columns).
View columns_of(const View& all, std::int64_t begin, std::int64_t end) {
  View part = all;
  part.shape = {1, all.extent(0), end - begin};
  part.strides = {0, all.stride(0), all.stride(1)};
  part.data = static_cast<float*>(all.data) + begin * all.stride(1);
  return part;
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void attend_ragged(const View& q, const View& k, const View& v, const View& query_offsets, const View& key_offsets, const View& out,
                   const AttendOptions& options, const std::optional<View>& lse, const Context& context) {
  using namespace engine;
  const std::pair<const char*, const View*> tensors[] = {{"q", &q}, {"k", &k}, {"v", &v}, {"out", &out}};
  for (const auto& [name, view] : tensors)
    if (view->rank() != 3) fail(name, "rank 3 (tokens, heads, width)", view->shape.text());
  if (lse && lse->rank() != 2) fail("lse", "[H, T]", lse->shape.text());
  const std::pair<const char*, bool> refused[] = {{"bias", options.bias.has_value()},
                                                  {"mask", options.mask.has_value()},
                                                  {"key_lengths", options.key_lengths.has_value()},
                                                  {"query_lengths", options.query_lengths.has_value()},
                                                  {"blocks", options.blocks.has_value()}};
  for (const auto& [name, given] : refused)
    if (given) fail(name, "none for ragged sequences", "a view");
  const auto queries = offsets_of("query_offsets", query_offsets, q.extent(0)), keys = offsets_of("key_offsets", key_offsets, k.extent(0));
  if (queries.size() != keys.size()) fail("key_offsets", "[" + std::to_string(queries.size()) + "]", key_offsets.shape.text());
  const auto extras_of = [&](std::int64_t begin, std::int64_t end) {
    AttendExtras extras;
    if (lse) extras.lse = columns_of(*lse, begin, end);
    return extras;
  };
  const View whole = rows_of(out, 0, out.extent(0));
  check(rows_of(q, 0, q.extent(0)), rows_of(k, 0, k.extent(0)), rows_of(v, 0, v.extent(0)), &whole, options, extras_of(0, q.extent(0)),
        context);
  const auto sequence = [&](std::int64_t b) {
    const std::int64_t i = queries[std::size_t(b)], i_end = queries[std::size_t(b) + 1], j = keys[std::size_t(b)],
                       j_end = keys[std::size_t(b) + 1];
    if (i < i_end)
      attend(rows_of(q, i, i_end), rows_of(k, j, j_end), rows_of(v, j, j_end), rows_of(out, i, i_end), options, extras_of(i, i_end),
             context);
  };
  const auto count = std::int64_t(queries.size()) - 1;
  if (count >= 4 * base::thread_count(context.threads))
    return base::parallel(context.threads, count, [&](std::int64_t b, int) { sequence(b); });
  for (std::int64_t b = 0; b < count; ++b) sequence(b);
}

}  // namespace v0
}  // namespace heed
