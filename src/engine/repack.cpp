// SPDX-License-Identifier: Apache-2.0
#include "engine/repack.h"

#include <bit>
#include <cstring>
#include <string>

#include "base/float16.h"
#include "heed/error.h"

namespace heed::engine {
namespace {

using product::Layout, product::panel;
using Byte = std::uint8_t;

/// 32 channels: whole codes, and scales and minimum as the layout stores them.
struct Group {
  std::int8_t code[32];
  std::uint32_t scale[2] = {}, min = 0;
};

std::uint16_t half(const Byte* p) { return std::uint16_t(p[0] | p[1] << 8); }
float widened(const Byte* p) { return base::from_f16(half(p)); }

/// Q4_0, Q4_1, Q5_0, Q5_1: f16 scale, f16 minimum, high bits, 16 bytes of nibbles.
Group simple(const Byte* p, bool with_min, bool five) {
  Group g;
  g.scale[0] = half(p);
  if (with_min) g.min = half(p + 2);
  p += with_min ? 4 : 2;
  std::uint32_t high = 0;
  if (five) std::memcpy(&high, p, 4), p += 4;
  for (int i = 0; i < 16; ++i) g.code[i] = std::int8_t(p[i] & 15), g.code[i + 16] = std::int8_t(p[i] >> 4);
  for (int i = 0; five && i < 32; ++i) g.code[i] = std::int8_t(g.code[i] | int((high >> i) & 1) << 4);
  return g;
}

/// Q4_K and Q5_K: group `at` of 8.
Group k_group(const Byte* p, int at, bool five) {
  const Byte* s = p + 4;
  const Byte *high = p + 16, *low = p + (five ? 48 : 16) + at / 2 * 32;
  const int scale = at < 4 ? s[at] & 63 : (s[at + 4] & 15) | (s[at - 4] >> 6 << 4);
  const int min = at < 4 ? s[at + 4] & 63 : (s[at + 4] >> 4) | (s[at] >> 6 << 4);
  Group g;
  g.scale[0] = std::bit_cast<std::uint32_t>(widened(p) * float(scale));
  g.min = std::bit_cast<std::uint32_t>(-(widened(p + 2) * float(min)));
  for (int i = 0; i < 32; ++i) g.code[i] = std::int8_t(((low[i] >> (at % 2 * 4)) & 15) | (five ? ((high[i] >> at) & 1) << 4 : 0));
  return g;
}

/// Q6_K: 32 of 256 channels, a scale every 16.
Group k6_group(const Byte* p, int at) {
  const int half_block = at / 4, quarter = at % 4;
  const Byte *low = p + half_block * 64 + quarter % 2 * 32, *high = p + 128 + half_block * 32, *scales = p + 192 + 2 * at;
  Group g;
  for (int i = 0; i < 2; ++i) g.scale[i] = std::bit_cast<std::uint32_t>(widened(p + 208) * float(std::int8_t(scales[i])));
  for (int i = 0; i < 32; ++i) g.code[i] = std::int8_t((((low[i] >> (quarter / 2 * 4)) & 15) | ((high[i] >> (2 * quarter)) & 3) << 4) - 32);
  return g;
}

/// Channels [32 at, 32 at + 32) of a row. Codes of 8-bit layouts are signed.
Group group_of(GgmlType type, const Byte* row, std::int64_t at) {
  const Byte* block = row + at * 32 / block_channels(type) * block_bytes(type);
  Group g;
  switch (type) {
    case GgmlType::Q4_0:
      return simple(block, false, false);
    case GgmlType::Q4_1:
      return simple(block, true, false);
    case GgmlType::Q5_0:
      g = simple(block, false, true);
      for (std::int8_t& code : g.code) code = std::int8_t(code - 16);
      return g;
    case GgmlType::Q5_1:
      return simple(block, true, true);
    case GgmlType::Q8_0:
      g.scale[0] = half(block);
      std::memcpy(g.code, block + 2, 32);
      return g;
    case GgmlType::Q4_K:
      return k_group(block, int(at % 8), false);
    case GgmlType::Q5_K:
      return k_group(block, int(at % 8), true);
    default:
      return k6_group(block, int(at % 8));
  }
}

}  // namespace

Layout layout_of(GgmlType type) {
  switch (type) {
    case GgmlType::F32:
      return Layout::f32;
    case GgmlType::F16:
      return Layout::f16;
    case GgmlType::BF16:
      return Layout::bf16;
    case GgmlType::Q4_0:
      return Layout::q4;
    case GgmlType::Q4_1:
      return Layout::q4_min;
    case GgmlType::Q4_K:
      return Layout::q4_wide;
    case GgmlType::Q5_0:
    case GgmlType::Q8_0:
      return Layout::q8;
    case GgmlType::Q5_1:
      return Layout::q8_min;
    case GgmlType::Q5_K:
      return Layout::q8_wide;
    case GgmlType::Q6_K:
      return Layout::q8_half;
  }
  fail("type", "a known ggml type", std::to_string(std::uint32_t(type)));
}

std::int64_t block_channels(GgmlType type) {
  return type == GgmlType::F32 || type == GgmlType::F16 || type == GgmlType::BF16 ? 1 : type < GgmlType::Q4_K ? 32 : 256;
}

std::int64_t block_bytes(GgmlType type) {
  switch (type) {
    case GgmlType::F32:
      return 4;
    case GgmlType::F16:
    case GgmlType::BF16:
      return 2;
    case GgmlType::Q4_0:
      return 18;
    case GgmlType::Q4_1:
      return 20;
    case GgmlType::Q5_0:
      return 22;
    case GgmlType::Q5_1:
      return 24;
    case GgmlType::Q8_0:
      return 34;
    case GgmlType::Q4_K:
      return 144;
    case GgmlType::Q5_K:
      return 176;
    case GgmlType::Q6_K:
      return 210;
  }
  fail("type", "a known ggml type", std::to_string(std::uint32_t(type)));
}

void repack(GgmlType type, const Byte* row, std::int64_t k, int column, Byte* to) {
  const Layout layout = layout_of(type);
  const product::Form form = product::form_of(layout);
  const int many = 32 / form.bits, split = 32 / form.channels;  // many: codes in a word
  Byte* scales = to + product::code_bytes(layout, k);
  Byte* minima = scales + product::scale_bytes(layout, k);
  for (std::int64_t at = 0; at < k / 32; ++at) {
    const Group g = group_of(type, row, at);
    Byte* codes = to + at * 32 / many * 64 + column * 4;
    for (int i = 0; i < 32; i += many, codes += 64) {
      std::uint32_t word[2] = {};
      std::memcpy(word, g.code + i, std::size_t(many));
      word[0] = form.bits == 8 ? word[0] ^ 0x80808080u : word[0] | word[1] << 4;  // codes + 128, or channels 4 to 7 above 0 to 3
      std::memcpy(codes, word, 4);
    }
    for (int i = 0; i < split; ++i)
      std::memcpy(scales + ((at * split + i) * panel + column) * form.scale, &g.scale[i], std::size_t(form.scale));
    if (form.min) std::memcpy(minima + (at * panel + column) * form.scale, &g.min, std::size_t(form.scale));
  }
}

void repack_floats(Layout layout, const Byte* row, std::int64_t k, int column, Byte* to) {
  const std::size_t size = layout == Layout::f32 ? 4 : 2;
  for (std::int64_t p = 0; p < k; ++p) {
    const std::int64_t at = layout == Layout::bf16 ? (p / 2 * panel + column) * 2 + p % 2 : p * panel + column;
    std::memcpy(to + std::size_t(at) * size, row + std::size_t(p) * size, size);
  }
}

}  // namespace heed::engine
