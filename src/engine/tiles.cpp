// SPDX-License-Identifier: Apache-2.0
#include "engine/tiles.h"

#include <atomic>

#include "base/parallel.h"
#include "engine/rows.h"

namespace heed {
namespace engine {
namespace {

constexpr std::int64_t chunk_keys = 2048;        ///< of a task of a call with few queries
constexpr std::int64_t packed_words = 16 << 20;  ///< packed at a time, at least one head
constexpr std::int64_t head_words = 128 << 10;   ///< a packed head that stays in the second cache
constexpr std::int64_t strips = 8;               ///< of queries in the second pass; column sums are added in their order

bool second_pass(const Call& c) { return c.extras.column_sums || c.extras.weights; }
bool few_queries(const Call& c) { return c.N < 8 && c.N * c.share <= 96 && !second_pass(c); }

/// One Rows a worker, made when first used.
class Workers {
 public:
  explicit Workers(const Call& call) : call_(call), rows_(std::size_t(base::thread_count(call.context.threads))) {}
  Rows& operator[](int worker) {
    auto& rows = rows_[std::size_t(worker)];
    if (!rows) rows = std::make_unique<Rows>(call_);
    return *rows;
  }

 private:
  const Call& call_;
  std::vector<std::unique_ptr<Rows>> rows_;
};

/// Heads [first, first + heads) of (B, G) with their keys and values packed.
struct Packed {
  std::int64_t first = 0;
  Buffer k, v;
  std::vector<char> finite;

  Packed(const Call& c, std::int64_t heads)
      : k(heads * c.tiles() * c.key_tile_words()), v(heads * c.tiles() * c.value_tile_words()), finite(std::size_t(heads * c.tiles())) {}
  /// Tile `at` of all tiles of these heads.
  void fill(const Call& c, std::int64_t at, float* scratch) {
    const std::int64_t head = first + at / c.tiles(), tile = at % c.tiles(), b = head / c.G;
    if (tile * c.keys >= c.key_lengths[std::size_t(b)]) return;
    finite[std::size_t(at)] =
        pack_tile(c, b, head % c.G, tile, k.get() + at * c.key_tile_words(), v.get() + at * c.value_tile_words(), scratch);
  }
};

/// How the queries of one key head are cut: `heads` query heads in a block where they are short.
struct Cut {
  std::int64_t rows, heads, blocks, parts;
  explicit Cut(const Call& c)
      : rows(c.rows),
        heads(c.options.blocks || second_pass(c) ? 1 : std::clamp<std::int64_t>(c.rows / std::max<std::int64_t>(c.N, 1), 1, c.share)),
        blocks((c.N + rows - 1) / rows),
        parts((c.share + heads - 1) / heads * blocks) {}
};

void load_block(const Call& c, Rows& rows, std::int64_t b, std::int64_t h, std::int64_t heads, std::int64_t block) {
  rows.begin(b);
  for (std::int64_t at = h; at < h + heads; ++at)
    for (std::int64_t i = block * c.rows; i < std::min(c.N, (block + 1) * c.rows); ++i) rows.add(at, i);
  rows.load();
}

/// Part `part` of the queries of a key head, the last (with causality the heaviest) block first.
void run_part(const Call& c, const Cut& cut, Rows& rows, const Packed& packed, std::int64_t head, std::int64_t part, float* totals) {
  const std::int64_t block = cut.blocks - 1 - part % cut.blocks, h = part / cut.blocks * cut.heads;
  load_block(c, rows, head / c.G, head % c.G * c.share + h, std::min(cut.heads, c.share - h), block);
  for (std::int64_t tile = 0; tile < rows.last_tile(); ++tile) {
    const std::int64_t at = (head - packed.first) * c.tiles() + tile;
    if (rows.sees(tile))
      rows.visit(tile, packed.k.get() + at * c.key_tile_words(), packed.v.get() + at * c.value_tile_words(),
                 packed.finite[std::size_t(at)]);
  }
  rows.finish(totals);
}

/// The weights of a strip of queries, written where asked, and their sums by key.
void weights_of_strip(const Call& c, Rows& rows, const Packed& packed, std::int64_t b, std::int64_t h, std::int64_t strip,
                      const float* totals, float* columns) {
  const std::int64_t blocks = (c.N + c.rows - 1) / c.rows, head = b * c.G + h / c.share - packed.first;
  if (columns) std::fill(columns, columns + c.M, 0.0f);
  for (std::int64_t block = blocks * strip / strips; block < blocks * (strip + 1) / strips; ++block) {
    load_block(c, rows, b, h, 1, block);
    for (std::int64_t tile = 0; tile < c.tiles(); ++tile) {
      const bool seen = rows.sees(tile);
      if (seen) rows.weights(tile, packed.k.get() + (head * c.tiles() + tile) * c.key_tile_words(), totals + 2 * block * c.rows);
      const std::int64_t begin = tile * c.keys, count = std::min(c.keys, c.M - begin);
      for (int r = 0; r < rows.size(); ++r) {
        const float* x = rows.weights_of(r);
        const std::int64_t first = seen ? rows.first_of(r) : 0, last = seen ? std::min<std::int64_t>(rows.last_of(r), count) : 0;
        if (columns)
          for (std::int64_t j = first; j < last; ++j) columns[begin + j] += x[j];
        if (!c.extras.weights) continue;
        const View& w = *c.extras.weights;
        float* to = static_cast<float*>(w.data) + b * w.strides[0] + h * w.strides[1] + rows.row(r).i * w.strides[2] + begin * w.strides[3];
        for (std::int64_t j = 0; j < count; ++j) to[j * w.strides[3]] = j >= first && j < last ? x[j] : 0.0f;
      }
    }
  }
}

/// Keys and values packed once a head, then tasks of a block of queries, head by head.
void run_packed(const Call& c) {
  Workers workers(c);
  const Cut cut(c);
  const std::int64_t heads = c.B * c.G, tiles = c.tiles(), words = tiles * (c.key_tile_words() + c.value_tile_words());
  const bool second = second_pass(c);
  const int threads = base::thread_count(c.context.threads);
  if (!second && words <= head_words && heads >= 4 * threads) {  // packing and queries in one task: the same results
    std::vector<std::unique_ptr<Packed>> own{std::size_t(threads)};
    return base::parallel(c.context.threads, heads, [&](std::int64_t head, int worker) {
      auto& packed = own[std::size_t(worker)];
      if (!packed) packed = std::make_unique<Packed>(c, 1);
      packed->first = head;
      for (std::int64_t at = 0; at < tiles; ++at) packed->fill(c, at, workers[worker].scratch());
      for (std::int64_t part = 0; part < cut.parts; ++part) run_part(c, cut, workers[worker], *packed, head, part, nullptr);
    });
  }
  const std::int64_t wave = std::clamp<std::int64_t>(packed_words / std::max<std::int64_t>(1, words), 1, heads);
  Packed packed(c, wave);
  const std::int64_t padded = cut.blocks * c.rows;
  const Buffer totals(second ? wave * c.share * padded * 2 : 0);
  const Buffer columns(c.extras.column_sums ? wave * c.share * strips * c.M : 0);
  for (std::int64_t first = 0; first < heads; first += wave) {
    const std::int64_t here = std::min(wave, heads - first), queries = here * c.share;
    packed.first = first;
    base::parallel(c.context.threads, here * tiles, [&](std::int64_t at, int worker) { packed.fill(c, at, workers[worker].scratch()); });
    base::parallel(c.context.threads, here * cut.parts, [&](std::int64_t task, int worker) {
      const std::int64_t at = task / cut.parts, part = task % cut.parts, block = cut.blocks - 1 - part % cut.blocks;
      const std::int64_t h = part / cut.blocks * cut.heads;
      run_part(c, cut, workers[worker], packed, first + at, part,
               second ? totals.get() + ((at * c.share + h) * padded + block * c.rows) * 2 : nullptr);
    });
    if (!second) continue;
    base::parallel(c.context.threads, queries * strips, [&](std::int64_t task, int worker) {
      const std::int64_t at = task / strips, head = first + at / c.share;
      weights_of_strip(c, workers[worker], packed, head / c.G, head % c.G * c.share + at % c.share, task % strips,
                       totals.get() + at * padded * 2, c.extras.column_sums ? columns.get() + task * c.M : nullptr);
    });
    if (!c.extras.column_sums) continue;
    const View& to = *c.extras.column_sums;
    base::parallel(c.context.threads, queries, [&](std::int64_t at, int) {
      const std::int64_t head = first + at / c.share, b = head / c.G, h = head % c.G * c.share + at % c.share;
      for (std::int64_t j = 0; j < c.M; ++j) {
        float sum = 0;
        for (std::int64_t strip = 0; strip < strips; ++strip) sum += columns.get()[(at * strips + strip) * c.M + j];
        static_cast<float*>(to.data)[b * to.strides[0] + h * to.strides[1] + j * to.strides[2]] = sum;
      }
    });
  }
}

/// Few queries: tasks are chunks of keys, their partial results merged in the order of the keys.
void run_few(const Call& c) {
  Workers workers(c);
  const std::int64_t heads = c.B * c.G, chunk = std::max<std::int64_t>(1, chunk_keys / c.keys);
  const std::int64_t chunks = std::max<std::int64_t>(1, (c.tiles() + chunk - 1) / chunk), part = c.N * c.share * (c.value_width() + 3);
  const Buffer parts(heads * chunks * part);
  std::vector<Buffer> packed(std::size_t(base::thread_count(c.context.threads)));
  base::parallel(c.context.threads, heads * chunks, [&](std::int64_t task, int worker) {
    const std::int64_t head = task / chunks, at = task % chunks;
    Rows& rows = workers[worker];
    Buffer& buffer = packed[std::size_t(worker)];
    if (!buffer) buffer = Buffer(c.key_tile_words() + c.value_tile_words());
    float *k = buffer.get(), *v = k + c.key_tile_words();
    rows.load_head(head);
    for (std::int64_t tile = at * chunk; tile < std::min((at + 1) * chunk, rows.last_tile()); ++tile) {
      if (!rows.sees(tile)) continue;
      const bool finite = pack_tile(c, head / c.G, head % c.G, tile, k, v, rows.scratch());
      rows.visit(tile, k, v, finite);
    }
    rows.save(parts.get() + task * part);
  });
  base::parallel(c.context.threads, heads, [&](std::int64_t head, int worker) {
    Rows& rows = workers[worker];
    rows.load_head(head);
    for (std::int64_t at = 0; at < chunks; ++at) rows.merge(parts.get() + (head * chunks + at) * part);
    rows.finish(nullptr);
  });
}

std::string why(const Call& c) {
  const std::string isa = name_of(c.context.isa);
  const bool fast = c.context.precision == Precision::fast || (c.context.precision == Precision::automatic && c.q.dtype != DType::f32);
  std::string text = "tiles/" + isa + (fast ? " fast: " : " strict: ") + c.products->name + ", ";
  if (c.direct) {
    text += "keys and values read where they lie: few queries";
  } else {
    if (gathers_blocks(c)) text += "kept keys gathered for each block of queries, ";
    text += std::to_string(c.rows) + " queries x " + std::to_string(c.keys) + " keys";
    if (few_queries(c)) text += "; keys split in chunks of " + std::to_string(chunk_keys) + ": few queries";
    if (c.q.dtype != DType::f32 && c.products->pair == 1) text += std::string("; ") + name_of(c.q.dtype) + " is widened when packed";
    if (fast && c.products->pair == 1)
      text += c.q.dtype == DType::f16 ? "; f16 has no products of its own here" : "; " + isa + " has no products of bf16";
    if (!fast && kernel::pairs_of(c.context.isa)) text += "; products of bf16 refused: strict";
  }
  if (!c.plain) text += "; steps over the scores";
  if (second_pass(c)) text += "; a second pass for weights or column sums";
  return text;
}

}  // namespace
}  // namespace engine

inline namespace v0 {
namespace {
std::atomic<void (*)(const std::string&)> plan_log{nullptr};
}

void set_plan_log(void (*log)(const std::string&)) { plan_log = log; }

void attend(const View& q, const View& k, const View& v, const View& out, const AttendOptions& options, const AttendExtras& extras,
            const Context& context) {
  const engine::Call call = engine::check(q, k, v, &out, options, extras, context);
  if (const auto log = plan_log.load()) log(engine::why(call));
  if (call.B == 0 || call.H == 0) return;
  if (call.direct) return engine::run_direct(call);
  if (engine::gathers_blocks(call)) return engine::run_blocks(call);
  engine::few_queries(call) ? engine::run_few(call) : engine::run_packed(call);
}

std::string why(const View& q, const View& k, const View& v, const AttendOptions& options, const AttendExtras& extras,
                const Context& context) {
  return engine::why(engine::check(q, k, v, nullptr, options, extras, context));
}

}  // namespace v0
}  // namespace heed
