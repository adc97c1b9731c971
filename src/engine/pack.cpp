// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "engine/tiles.h"

namespace heed::engine {
namespace {

using Half = std::uint16_t;

/// n elements as bf16.
void read_pairs(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, Half* to) {
  if (view.dtype == DType::bf16) {
    const Half* from = static_cast<const Half*>(view.data) + offset;
    if (stride == 1) {
      std::copy_n(from, n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
    return;
  }
  constexpr std::int64_t part = 64;
  for (std::int64_t i = 0; i < n; i += part) {
    float wide[part];
    const std::int64_t count = std::min(part, n - i);
    read_row(table, view, offset + i * stride, stride, count, wide);
    table.narrow_bf16(wide, count, to + i);
  }
}

/// Zeros for what is not finite.
void clean(float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    if (!std::isfinite(x[i])) x[i] = 0;
}
/// Whether no exponent is all ones: such a one carries into the top bit. n is a multiple of 16.
bool finite(const Half* x, std::int64_t n) {
  constexpr int lanes = 16;
  Half all[lanes] = {};
  for (std::int64_t i = 0; i < n; i += lanes)
    for (int j = 0; j < lanes; ++j) all[j] |= Half((x[i + j] & 0x7f80) + 0x0080);
  Half any = 0;
  for (const Half bits : all) any |= bits;
  return (any & 0x8000) == 0;
}
void clean(Half* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    if ((x[i] & 0x7f80) == 0x7f80) x[i] = 0;
}

/// Keys by number: listed ones, or one after another.
struct Keys {
  const std::int64_t* index;
  std::int64_t begin, count, filled;  ///< zeros in [count, filled), nothing after it
  std::int64_t operator[](std::int64_t j) const { return index ? index[j] : begin + j; }
};

bool pack_values(const Call& call, std::int64_t first, const Keys& keys, float* v, float* scratch) {
  const auto& s = call.v.strides;
  const std::int64_t width = call.value_width();
  const bool in_place = call.v.dtype == DType::f32 && s[3] == 1 && call.E == width;
  std::memset(scratch, 0, std::size_t(width) * sizeof(float));
  for (std::int64_t j = 0; j < keys.filled; ++j) {
    const float* row = scratch;
    if (j < keys.count && in_place)
      row = static_cast<const float*>(call.v.data) + first + keys[j] * s[1];
    else if (j < keys.count)
      read_row(*call.table, call.v, first + keys[j] * s[1], s[3], call.E, scratch);
    else if (j == keys.count)
      std::memset(scratch, 0, std::size_t(width) * sizeof(float));
    float* to = v + j * kernel::panel;
    for (std::int64_t e = 0; e < width; e += kernel::panel, to += call.value_panel_words())
      std::memcpy(to, row + e, kernel::panel * sizeof(float));
  }
  bool all = true;
  for (std::int64_t e = 0; e < call.value_panels(); ++e, v += call.value_panel_words()) {
    if (call.table->finite(v, keys.filled * kernel::panel)) continue;
    clean(v, keys.filled * kernel::panel);
    all = false;
  }
  return all;
}

/// Two keys a word.
bool pack_value_pairs(const Call& call, std::int64_t first, const Keys& keys, float* v, float* scratch) {
  const auto& s = call.v.strides;
  const std::int64_t width = call.value_width();
  Half *two = reinterpret_cast<Half*>(scratch), *packed = reinterpret_cast<Half*>(v);
  const bool in_place = call.v.dtype == DType::bf16 && s[3] == 1 && call.E == width;
  std::memset(two, 0, std::size_t(2 * width) * sizeof(Half));
  for (std::int64_t j = 0; j < keys.filled; j += 2) {
    const Half* rows[2];
    for (const std::int64_t i : {0, 1}) {
      Half* row = two + i * width;
      rows[i] = row;
      if (j + i >= keys.count)
        std::memset(row, 0, std::size_t(width) * sizeof(Half));
      else if (in_place)
        rows[i] = static_cast<const Half*>(call.v.data) + first + keys[j + i] * s[1];
      else
        read_pairs(*call.table, call.v, first + keys[j + i] * s[1], s[3], call.E, row);
    }
    float* to = v + j / 2 * kernel::panel;
    for (std::int64_t e = 0; e < width; e += kernel::panel, to += call.value_panel_words())
      call.table->interleave(rows[0] + e, rows[1] + e, kernel::panel, to);
  }
  bool all = true;
  for (std::int64_t e = 0; e < call.value_panels(); ++e, packed += 2 * call.value_panel_words()) {
    if (finite(packed, keys.filled * kernel::panel)) continue;
    clean(packed, keys.filled * kernel::panel);
    all = false;
  }
  return all;
}

}  // namespace

void read_row(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, float* to) {
  if (view.dtype == DType::f32) {
    const float* from = static_cast<const float*>(view.data) + offset;
    if (stride == 1) {
      std::copy_n(from, n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
    return;
  }
  const Half* from = static_cast<const Half*>(view.data) + offset;
  const bool half = view.dtype == DType::f16;
  if (stride == 1) return (half ? table.widen_f16 : table.widen_bf16)(from, n, to);
  for (std::int64_t i = 0; i < n; ++i) to[i] = half ? base::from_f16(from[i * stride]) : base::from_bf16(from[i * stride]);
}

void write_row(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, const float* from) {
  if (view.dtype == DType::f32) {
    float* to = static_cast<float*>(view.data) + offset;
    if (stride == 1) {
      std::copy_n(from, n, to);
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i * stride] = from[i];
    }
    return;
  }
  Half* to = static_cast<Half*>(view.data) + offset;
  const bool half = view.dtype == DType::f16;
  if (stride == 1) return (half ? table.narrow_f16 : table.narrow_bf16)(from, n, to);
  for (std::int64_t i = 0; i < n; ++i) to[i * stride] = half ? base::to_f16(from[i]) : base::to_bf16(from[i]);
}

void read_words(const Call& call, const View& view, std::int64_t offset, std::int64_t stride, float* to) {
  const std::int64_t words = call.D / call.products->pair;  // whole ones
  if (words < call.depth()) std::memset(to + words, 0, std::size_t(call.depth() - words) * sizeof(float));
  if (call.products->pair == 1) return read_row(*call.table, view, offset, stride, call.D, to);
  read_pairs(*call.table, view, offset, stride, call.D, reinterpret_cast<Half*>(to));
}

bool pack_keys(const Call& call, std::int64_t b, std::int64_t g, const std::int64_t* index, std::int64_t begin, std::int64_t count,
               float* k, float* v, float* scratch) {
  constexpr int P = kernel::panel;
  const std::int64_t unit = call.unit(), filled = std::min(call.keys, (count + unit - 1) / unit * unit);
  const Keys keys{index, begin, count, filled};
  const std::int64_t depth = call.depth();
  const auto &s = call.k.strides, &t = call.v.strides;
  const std::int64_t first = b * s[0] + g * s[2];
  // Rows of whole words are turned where they lie.
  const int pair = call.products->pair;
  const auto* base = static_cast<const char*>(call.k.data) + first * std::int64_t(size_of(call.k.dtype));
  const bool in_place = call.k.dtype == (pair == 1 ? DType::f32 : DType::bf16) && s[3] == 1 && depth * pair == call.D && s[1] % pair == 0 &&
                        reinterpret_cast<std::uintptr_t>(base) % alignof(float) == 0;
  for (std::int64_t j = 0; j < filled; j += P) {
    if (in_place && j + P <= count && keys[j + P - 1] - keys[j] == P - 1) {
      call.table->transpose(reinterpret_cast<const float*>(base) + keys[j] * s[1] / pair, s[1] / pair, depth, k + j * depth);
      continue;
    }
    for (std::int64_t i = j; i < j + P; ++i) {
      float* row = scratch + (i - j) * depth;
      if (i < count) {
        read_words(call, call.k, first + keys[i] * s[1], s[3], row);
      } else {
        std::memset(row, 0, std::size_t(depth) * sizeof(float));
      }
    }
    call.table->transpose(scratch, depth, depth, k + j * depth);
  }
  return (call.products->pair == 1 ? pack_values : pack_value_pairs)(call, b * t[0] + g * t[2], keys, v, scratch);
}

bool pack_tile(const Call& call, std::int64_t b, std::int64_t g, std::int64_t tile, float* k, float* v, float* scratch) {
  const std::int64_t begin = tile * call.keys;
  return pack_keys(call, b, g, nullptr, begin, std::clamp<std::int64_t>(call.key_lengths[std::size_t(b)] - begin, 0, call.keys), k, v,
                   scratch);
}

}  // namespace heed::engine
