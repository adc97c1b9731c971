// SPDX-License-Identifier: Apache-2.0
#include "engine/tiles.h"

#include "base/parallel.h"
#include "engine/merge.h"
#include "engine/rows.h"

namespace heed {
namespace engine {
namespace {

constexpr std::int64_t chunk_keys = 1024;         ///< of a task of a call with few queries
constexpr std::int64_t packed_floats = 64 << 20;  ///< packed at a time, at least one head
constexpr std::int64_t strips = 8;                ///< of queries in the second pass; column sums are added in their order

bool few_queries(const Call& c) { return c.N < 8 && c.N * c.share <= tile_rows; }
bool second_pass(const Call& c) { return c.extras.column_sums || c.extras.weights; }

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

  void fill(const Call& c, Workers& workers, std::int64_t begin, std::int64_t heads) {
    first = begin;
    base::parallel(c.context.threads, heads * c.tiles(), [&](std::int64_t task, int worker) {
      const std::int64_t head = begin + task / c.tiles(), tile = task % c.tiles(), b = head / c.G;
      if (tile * c.keys >= c.key_lengths[std::size_t(b)]) return;
      finite[std::size_t(task)] = pack_tile(c, b, head % c.G, tile, k.get() + task * c.key_tile_floats(),
                                            v.get() + task * c.value_tile_floats(), workers[worker].scratch());
    });
  }
};

void load_block(const Call& c, Rows& rows, std::int64_t b, std::int64_t h, std::int64_t block) {
  rows.begin(b);
  for (std::int64_t i = block * tile_rows; i < std::min(c.N, (block + 1) * tile_rows); ++i) rows.add(h, i);
  rows.load();
}

/// The weights of a strip of queries, written where asked, and their sums by key.
void weights_of_strip(const Call& c, Rows& rows, const Packed& packed, std::int64_t b, std::int64_t h, std::int64_t strip,
                      const float* totals, float* columns) {
  const std::int64_t blocks = (c.N + tile_rows - 1) / tile_rows, head = b * c.G + h / c.share - packed.first;
  if (columns) std::fill(columns, columns + c.M, 0.0f);
  for (std::int64_t block = blocks * strip / strips; block < blocks * (strip + 1) / strips; ++block) {
    load_block(c, rows, b, h, block);
    for (std::int64_t tile = 0; tile < c.tiles(); ++tile) {
      const bool seen = tile >= rows.first_tile() && tile < rows.last_tile() && rows.kept(tile);
      if (seen) rows.weights(tile, packed.k.get() + (head * c.tiles() + tile) * c.key_tile_floats(), totals + 2 * block * tile_rows);
      const std::int64_t begin = tile * c.keys, count = std::min(c.keys, c.M - begin);
      for (int r = 0; r < rows.size(); ++r) {
        const float* x = rows.weights_of(r);
        const std::int64_t first = seen ? rows.first_of(r) : 0, last = seen ? rows.last_of(r) : 0;
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

/// Keys and values packed once a head, then tasks of a block of queries; the heaviest blocks of a causal call come first.
void run_packed(const Call& c) {
  Workers workers(c);
  const std::int64_t heads = c.B * c.G, blocks = (c.N + tile_rows - 1) / tile_rows, tiles = c.tiles();
  const std::int64_t per_head = std::max<std::int64_t>(1, tiles * (c.key_tile_floats() + c.value_tile_floats()));
  const std::int64_t wave = std::clamp<std::int64_t>(packed_floats / per_head, 1, heads);
  Packed packed{0, Buffer(wave * tiles * c.key_tile_floats()), Buffer(wave * tiles * c.value_tile_floats()),
                std::vector<char>(std::size_t(wave * tiles))};
  const bool second = second_pass(c);
  const std::int64_t padded = blocks * tile_rows;
  const Buffer totals(second ? wave * c.share * padded * 2 : 0);
  const Buffer columns(c.extras.column_sums ? wave * c.share * strips * c.M : 0);
  for (std::int64_t first = 0; first < heads; first += wave) {
    const std::int64_t here = std::min(wave, heads - first), queries = here * c.share;
    packed.fill(c, workers, first, here);
    base::parallel(c.context.threads, blocks * queries, [&](std::int64_t task, int worker) {
      const std::int64_t block = blocks - 1 - task / queries, at = task % queries, head = first + at / c.share;
      Rows& rows = workers[worker];
      load_block(c, rows, head / c.G, head % c.G * c.share + at % c.share, block);
      for (std::int64_t tile = rows.first_tile(); tile < rows.last_tile(); ++tile) {
        const std::int64_t place = (head - first) * tiles + tile;
        if (rows.kept(tile))
          rows.visit(tile, packed.k.get() + place * c.key_tile_floats(), packed.v.get() + place * c.value_tile_floats(),
                     packed.finite[std::size_t(place)]);
      }
      rows.finish(second ? totals.get() + (at * padded + block * tile_rows) * 2 : nullptr);
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

/// All rows that read one key head.
void load_few(const Call& c, Rows& rows, std::int64_t head) {
  rows.begin(head / c.G);
  for (std::int64_t h = 0; h < c.share; ++h)
    for (std::int64_t i = 0; i < c.N; ++i) rows.add(head % c.G * c.share + h, i);
  rows.load();
}

/// Few queries: tasks are chunks of keys, their partial results merged in the order of the keys.
void run_few(const Call& c) {
  Workers workers(c);
  const std::int64_t heads = c.B * c.G, chunk = chunk_keys / c.keys > 0 ? chunk_keys / c.keys : 1;
  const std::int64_t chunks = std::max<std::int64_t>(1, (c.tiles() + chunk - 1) / chunk), size = c.N * c.share;
  const std::int64_t width = c.value_panels() * kernel::panel, part = size * (width + 2);
  const Buffer parts(heads * chunks * part);
  std::vector<Buffer> packed(std::size_t(base::thread_count(c.context.threads)));
  base::parallel(c.context.threads, heads * chunks, [&](std::int64_t task, int worker) {
    const std::int64_t head = task / chunks, at = task % chunks;
    Rows& rows = workers[worker];
    Buffer& buffer = packed[std::size_t(worker)];
    if (!buffer) buffer = Buffer(c.key_tile_floats() + c.value_tile_floats());
    float *k = buffer.get(), *v = k + c.key_tile_floats();
    load_few(c, rows, head);
    for (std::int64_t tile = std::max(at * chunk, rows.first_tile()); tile < std::min((at + 1) * chunk, rows.last_tile()); ++tile) {
      if (!rows.kept(tile)) continue;
      const bool finite = pack_tile(c, head / c.G, head % c.G, tile, k, v, rows.scratch());
      rows.visit(tile, k, v, finite);
    }
    float* to = parts.get() + task * part;
    std::memcpy(to, rows.out(), std::size_t(size * width) * sizeof(float));
    std::memcpy(to + size * width, rows.max(), std::size_t(size) * sizeof(float));
    std::memcpy(to + size * (width + 1), rows.sum(), std::size_t(size) * sizeof(float));
  });
  base::parallel(c.context.threads, heads, [&](std::int64_t head, int worker) {
    Rows& rows = workers[worker];
    load_few(c, rows, head);
    for (std::int64_t at = 0; at < chunks; ++at) {
      const float* from = parts.get() + (head * chunks + at) * part;
      for (std::int64_t r = 0; r < size; ++r) {
        float* out = rows.out() + r * width;
        if (c.softmax) {
          merge(out, rows.max()[r], rows.sum()[r], from + r * width, from[size * width + r], from[size * (width + 1) + r], width);
        } else {
          for (std::int64_t e = 0; e < width; ++e) out[e] += from[r * width + e];
        }
      }
    }
    rows.finish(nullptr);
  });
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void attend(const View& q, const View& k, const View& v, const View& out, const AttendOptions& options, const AttendExtras& extras,
            const Context& context) {
  engine::Call call = engine::check(q, k, v, &out, options, extras, context);
  if (call.B == 0 || call.H == 0) return;
  const bool few = engine::few_queries(call) && !engine::second_pass(call);
  few ? engine::run_few(call) : engine::run_packed(call);
}

std::string why(const View& q, const View& k, const View& v, const AttendOptions& options, const Context& context) {
  const engine::Call call = engine::check(q, k, v, nullptr, options, {}, context);
  std::string text = std::string("tiles/") + call.table->name + " strict, " + std::to_string(engine::tile_rows) + " queries x " +
                     std::to_string(call.keys) + " keys";
  if (engine::few_queries(call)) text += "; keys split in chunks of " + std::to_string(engine::chunk_keys) + ": few queries";
  if (std::string(name_of(context.isa)) != call.table->name) text += std::string("; ") + name_of(context.isa) + ": no loops of its own yet";
  if (context.precision != Precision::strict) text += "; the precision asked for is not built yet";
  if (q.dtype != DType::f32) text += std::string("; ") + name_of(q.dtype) + " is widened when packed";
  if (!call.plain) text += "; steps over the scores: softcap, bias, alibi, masks";
  return text;
}

}  // namespace v0
}  // namespace heed
