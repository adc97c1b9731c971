// SPDX-License-Identifier: Apache-2.0
// The engine of attend(): packed keys and values, tiles of scores in cache, weights online.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "base/pool.h"
#include "heed/attend.h"
#include "kernel/table.h"

namespace heed::engine {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float log2e = 1.44269504088896341f, ln2 = 0.693147180559945309f;
inline constexpr int tile_rows = 192, tile_keys = 256, score_stride = tile_keys + 16;
inline constexpr int tile_groups = tile_rows / 6;
inline constexpr int direct_rows = 32;  ///< that read one key head; more pay for packing

/// Floats on a cache line's boundary, not initialised; memory that an earlier call gave back where there is some.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t count) : data_(base::allocate(std::size_t(count > 0 ? count : 1) * sizeof(float))) {}
  float* get() const { return static_cast<float*>(data_.get()); }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  std::shared_ptr<void> data_;
};

/// A view broadcast to (B, H, N, M): strides of 0 where it is stretched.
struct Plane {
  const void* data = nullptr;
  std::int64_t b = 0, h = 0, n = 0, m = 0;
  template <class T>
  const T* at(std::int64_t ib, std::int64_t ih, std::int64_t in, std::int64_t im) const {
    return static_cast<const T*>(data) + ib * b + ih * h + in * n + im * m;
  }
};

/// A call, checked: what the loops need, with every default resolved.
struct Call {
  View q, k, v, out;
  AttendOptions options;
  AttendExtras extras;
  Context context;
  const kernel::Table* table = nullptr;
  const kernel::Products* products = nullptr;
  std::int64_t B = 0, N = 0, M = 0, H = 0, G = 0, D = 0, E = 0, share = 1;  ///< share: query heads that read one key head
  float scale = 1, factor = 1;                                              ///< weights are 2^(score * factor - reference)
  bool softmax = true, plain = true;       ///< plain: no step between the product and the weights but intervals of keys
  const kernel::Direct* direct = nullptr;  ///< few queries: keys and values are read where they lie
  Plane bias, mask, keep;
  std::int64_t rows = tile_rows, keys = tile_keys;  ///< of a tile
  std::vector<std::int64_t> key_lengths, query_lengths;

  /// Columns come in multiples of it.
  int unit() const { return std::max(kernel::panel, products->pair * products->step); }
  std::int64_t tiles() const { return (M + keys - 1) / keys; }
  /// Words of a query or key, and floats of a padded row of values.
  std::int64_t depth() const {
    const std::int64_t words = (D + products->pair - 1) / products->pair, step = products->step;
    return (words + step - 1) / step * step;
  }
  std::int64_t value_panels() const { return (E + kernel::panel - 1) / kernel::panel; }
  std::int64_t value_width() const { return value_panels() * kernel::panel; }
  std::int64_t key_tile_words() const { return keys * depth(); }
  std::int64_t value_panel_words() const { return keys / products->pair * kernel::panel; }
  std::int64_t value_tile_words() const { return value_panels() * value_panel_words(); }
  /// Packing needs room for this many floats.
  std::int64_t scratch_floats() const { return std::max(kernel::panel * depth(), 2 * value_width()); }
  bool has_sink() const { return options.sink.has_value() || options.weighting == Weighting::softmax_plus_one; }
  /// The sink of a head in natural units.
  float sink(std::int64_t h) const {
    return options.sink ? static_cast<const float*>(options.sink->data)[h * options.sink->strides[0]] : 0.0f;
  }
};

/// How many pieces of `size` cover n.
inline std::int64_t parts_of(std::int64_t n, std::int64_t size) { return n / size + (n % size != 0); }
/// Keys of a tile: all, in whole units, but no more than `most`.
inline std::int64_t tile_of(const Call& c, std::int64_t most) {
  const std::int64_t unit = c.unit();
  return std::clamp<std::int64_t>(parts_of(c.M, unit) * unit, unit, most);
}

/// Throws heed::Error for everything that does not fit; touches no output.
Call check(const View& q, const View& k, const View& v, const View* out, const AttendOptions& options, const AttendExtras& extras,
           const Context& context);

/// Calls with `direct`.
void run_direct(const Call& call);

/// Whether a call with a block mask is less work with the kept keys of each block of queries gathered; and that way.
bool gathers_blocks(const Call& call);
void run_blocks(const Call& call);

/// n elements of stride `stride` at element offset `offset` of a view, as f32 and back.
void read_row(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, float* to);
void write_row(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, const float* from);
/// The same as words of the call's products, zeros up to depth(). n is D.
void read_words(const Call& call, const View& view, std::int64_t offset, std::int64_t stride, float* to);
/// `count` keys of head g, those of `index` or (null) from `begin` on, as [16-key panels][depth][16] words, and their values as
/// [panels of E][keys / pair][16] words; zeros up to a multiple of unit(). Returns whether every value is finite; those that are not are
/// packed as zeros.
bool pack_keys(const Call& call, std::int64_t b, std::int64_t g, const std::int64_t* index, std::int64_t begin, std::int64_t count,
               float* k, float* v, float* scratch);
/// The keys of a tile.
bool pack_tile(const Call& call, std::int64_t b, std::int64_t g, std::int64_t tile, float* k, float* v, float* scratch);

}  // namespace heed::engine
