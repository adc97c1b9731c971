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
  const std::int64_t blocks = parts_of(c.N, sets.query_block), all = c.B * c.H * blocks;
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

/// Rising keys.
struct Listed {
  const std::int64_t* index;
  std::int64_t count;
};

/// For each block of queries of each of the B H heads `keys_of` gives its keys, in `room` or elsewhere; they are packed tile by tile
/// for that block alone.
template <class KeysOf>
void run(const Call& c, std::int64_t block_rows, const KeysOf& keys_of) {
  const std::int64_t heads = c.B * c.H, blocks = parts_of(c.N, block_rows), parts = parts_of(block_rows, c.rows);
  struct Worker {
    std::unique_ptr<Rows> rows;
    Buffer packed;
    std::vector<std::int64_t> room;
  };
  std::vector<Worker> workers(std::size_t(base::thread_count(c.context.threads)));
  base::parallel(c.context.threads, heads * blocks * parts, [&](std::int64_t task, int which) {
    const std::int64_t block = blocks - 1 - task / (heads * parts), at = task % (heads * parts);  // with causality the longest first
    const std::int64_t head = at / parts, b = head / c.H, h = head % c.H;
    const std::int64_t first = block * block_rows + at % parts * c.rows, last = std::min({c.N, (block + 1) * block_rows, first + c.rows});
    if (first >= last) return;
    Worker& mine = workers[std::size_t(which)];
    if (!mine.rows) mine.rows = std::make_unique<Rows>(c), mine.packed = Buffer(c.key_tile_words() + c.value_tile_words());
    float *k = mine.packed.get(), *v = k + c.key_tile_words();
    Listed keys = keys_of(head, block, mine.room);
    const std::int64_t none = 0;
    if (keys.count == 0) keys.index = &none;
    mine.rows->begin(b, keys.index, keys.count);
    for (std::int64_t i = first; i < last; ++i) mine.rows->add(h, i);
    mine.rows->load();
    for (std::int64_t tile = 0; tile < mine.rows->last_tile(); ++tile) {
      if (!mine.rows->sees(tile)) continue;
      const std::int64_t from = tile * c.keys;
      const bool finite =
          pack_keys(c, b, h / c.share, keys.index + from, 0, std::min(c.keys, keys.count - from), k, v, mine.rows->scratch());
      mine.rows->visit(tile, k, v, finite);
    }
    mine.rows->finish(nullptr);
  });
}

}  // namespace

bool gathers_blocks(const Call& c) {
  const AttendOptions& o = c.options;
  if (!o.blocks || c.direct || o.bias || o.mask || o.alibi_slopes || o.dilation > 1 || c.extras.column_sums || c.extras.weights)
    return false;
  constexpr std::int64_t least_rows = 32;  // fewer do not pay for packing
  const std::int64_t rows = o.blocks->query_block, columns = o.blocks->key_block, R = parts_of(c.N, rows), C = parts_of(c.M, columns);
  if (std::min(rows, c.N) < least_rows) return false;
  std::int64_t kept = 0, all = 0;
  for (std::int64_t b = 0; b < (c.keep.b ? c.B : 1); ++b)
    for (std::int64_t h = 0; h < (c.keep.h ? c.H : 1); ++h)
      for (std::int64_t r = 0; r < R; ++r) {
        const std::int64_t p = std::min(c.N, (r + 1) * rows) - 1 + c.M - c.N;  // of the last query
        const std::int64_t seen = o.causal ? std::clamp<std::int64_t>(p / columns + 1, 0, C) : C;
        for (std::int64_t j = 0; j < seen; ++j) kept += *c.keep.at<bool>(b, h, r, j);
        all += seen;
      }
  return kept * 4 <= all * 3;  // packing for one block of queries alone costs a third of its work or less
}

void run_blocks(const Call& call) {
  Call c = call;
  const BlockMask blocks = *call.options.blocks;
  c.options.blocks.reset();
  c.rows = std::min<std::int64_t>(blocks.query_block, tile_rows);
  c.keys = tile_of(c, tile_keys);
  run(c, blocks.query_block, [&](std::int64_t head, std::int64_t block, std::vector<std::int64_t>& room) -> Listed {
    room.clear();
    for (std::int64_t at = 0; at * blocks.key_block < c.M; ++at)
      if (*c.keep.at<bool>(head / c.H, head % c.H, block, at))
        for (std::int64_t j = at * blocks.key_block; j < std::min(c.M, (at + 1) * blocks.key_block); ++j) room.push_back(j);
    return {room.data(), std::int64_t(room.size())};
  });
}

}  // namespace engine

inline namespace v0 {

void attend_gathered(const View& q, const View& k, const View& v, const View& out, const KeySets& sets, const AttendOptions& options,
                     const std::optional<View>& lse, const Context& context) {
  using namespace engine;
  const std::pair<const char*, bool> refused[] = {{"dilation", options.dilation != 1},
                                                  {"bias", options.bias.has_value()},
                                                  {"mask", options.mask.has_value()},
                                                  {"alibi_slopes", options.alibi_slopes.has_value()},
                                                  {"blocks", options.blocks.has_value()}};
  for (const auto& [name, given] : refused)
    if (given) fail(name, "none for sets of keys", "one");
  AttendExtras extras;
  extras.lse = lse;
  Call c = check(q, k, v, &out, options, extras, context);
  c.direct = nullptr;
  const Sets checked = check_sets(sets, c);
  c.rows = std::min<std::int64_t>(sets.query_block, tile_rows);
  c.keys = tile_of(c, tile_keys);
  run(c, sets.query_block, [&](std::int64_t head, std::int64_t block, auto&) -> Listed {
    const std::int64_t* begin = checked.offsets + head * checked.blocks + block;
    return {checked.index + begin[0], begin[1] - begin[0]};
  });
}

}  // namespace v0
}  // namespace heed
