// SPDX-License-Identifier: Apache-2.0
#include "heed/gathered.h"

#include "base/parallel.h"
#include "engine/rows.h"

namespace heed {
namespace engine {
namespace {

struct Sets {
  std::int64_t blocks;          ///< of queries, a head
  const std::int64_t* offsets;  ///< (B H blocks + 1)
  const std::int64_t* index;
};

const std::int64_t* whole_numbers(const char* name, const View& view) {
  if (view.dtype != DType::i64) fail(name, "i64", name_of(view.dtype));
  if (view.rank() != 1) fail(name, "rank 1", view.shape.text());
  if (view.extent(0) > 1 && view.stride(0) != 1) fail(name, "neighbouring numbers", "a stride of " + std::to_string(view.stride(0)));
  if (view.extent(0) > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
  return static_cast<const std::int64_t*>(view.data);
}

Sets check_sets(const KeySets& sets, const Call& c) {
  if (sets.query_block < 1) fail("sets.query_block", "1 or more", std::to_string(sets.query_block));
  const std::int64_t blocks = c.N / sets.query_block + (c.N % sets.query_block != 0), all = c.B * c.H * blocks;
  const Sets s{blocks, whole_numbers("sets.offsets", sets.offsets), whole_numbers("sets.index", sets.index)};
  const std::int64_t total = sets.index.extent(0);
  if (sets.offsets.extent(0) != all + 1) fail("sets.offsets", "[" + std::to_string(all + 1) + "]", sets.offsets.shape.text());
  if (s.offsets[0] != 0 || s.offsets[all] != total)
    fail("sets.offsets", "numbers from 0 to " + std::to_string(total),
         std::to_string(s.offsets[0]) + " to " + std::to_string(s.offsets[all]));
  for (std::int64_t at = 0; at < all; ++at)
    if (s.offsets[at + 1] < s.offsets[at] || s.offsets[at + 1] > total)
      fail("sets.offsets", "numbers that never fall", std::to_string(s.offsets[at + 1]) + " at " + std::to_string(at + 1));
  for (std::int64_t at = 0; at < all; ++at)
    for (std::int64_t e = s.offsets[at]; e < s.offsets[at + 1]; ++e) {
      if (s.index[e] < 0 || s.index[e] >= c.M) fail("sets.index", "keys below " + std::to_string(c.M), std::to_string(s.index[e]));
      if (e > s.offsets[at] && s.index[e] <= s.index[e - 1]) fail("sets.index", "rising keys in a set", std::to_string(s.index[e]));
    }
  return s;
}

/// The rows of a task, their keys packed tile by tile for it alone.
void run(const Call& c, const Sets& sets, std::int64_t block_rows) {
  const std::int64_t parts = (block_rows + c.rows - 1) / c.rows, tasks = c.B * c.H * sets.blocks * parts;
  const auto workers = std::size_t(base::thread_count(c.context.threads));
  std::vector<std::unique_ptr<Rows>> rows(workers);
  std::vector<Buffer> packed(workers);
  base::parallel(c.context.threads, tasks, [&](std::int64_t task, int worker) {
    const std::int64_t heads = c.B * c.H, at = task % (heads * parts),
                       block = sets.blocks - 1 - task / (heads * parts);  // the longest first
    const std::int64_t head = at / parts, b = head / c.H, h = head % c.H, g = h / c.share;
    const std::int64_t first = block * block_rows + at % parts * c.rows, last = std::min({c.N, (block + 1) * block_rows, first + c.rows});
    if (first >= last) return;
    auto& mine = rows[std::size_t(worker)];
    auto& buffer = packed[std::size_t(worker)];
    if (!mine) mine = std::make_unique<Rows>(c), buffer = Buffer(c.key_tile_words() + c.value_tile_words());
    float *k = buffer.get(), *v = k + c.key_tile_words();
    const std::int64_t begin = sets.offsets[head * sets.blocks + block], count = sets.offsets[head * sets.blocks + block + 1] - begin;
    const std::int64_t none = 0, *index = count > 0 ? sets.index + begin : &none;
    mine->begin(b, index, count);
    for (std::int64_t i = first; i < last; ++i) mine->add(h, i);
    mine->load();
    for (std::int64_t tile = 0; tile < mine->last_tile(); ++tile) {
      const std::int64_t from = tile * c.keys;
      const bool finite = pack_keys(c, b, g, index + from, 0, std::min(c.keys, count - from), k, v, mine->scratch());
      mine->visit(tile, k, v, finite);
    }
    mine->finish(nullptr);
  });
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void attend_gathered(const View& q, const View& k, const View& v, const View& out, const KeySets& sets, const AttendOptions& options,
                     const std::optional<View>& lse, const Context& context) {
  using namespace engine;
  const std::pair<const char*, bool> refused[] = {{"window_left", options.window_left >= 0},
                                                  {"window_right", options.window_right >= 0},
                                                  {"first_keys", options.first_keys != 0},
                                                  {"dilation", options.dilation != 1},
                                                  {"weighting relu", options.weighting == Weighting::relu},
                                                  {"bias", options.bias.has_value()},
                                                  {"mask", options.mask.has_value()},
                                                  {"alibi_slopes", options.alibi_slopes.has_value()},
                                                  {"key_lengths", options.key_lengths.has_value()},
                                                  {"query_lengths", options.query_lengths.has_value()},
                                                  {"blocks", options.blocks.has_value()}};
  for (const auto& [name, given] : refused)
    if (given) fail(name, "none for sets of keys", "one");
  AttendExtras extras;
  extras.lse = lse;
  Call c = check(q, k, v, &out, options, extras, context);
  c.direct = nullptr;
  const Sets checked = check_sets(sets, c);
  if (c.B == 0 || c.H == 0 || c.N == 0) return;
  c.rows = std::min<std::int64_t>(sets.query_block, tile_rows);
  run(c, checked, sets.query_block);
}

}  // namespace v0
}  // namespace heed
