// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "base/float16.h"
#include "heed/gguf.h"

namespace heed {
inline namespace v0 {
namespace {
using Byte = std::uint8_t;
std::uint16_t u16(const Byte* p) { return std::uint16_t(p[0] | p[1] << 8); }
float half(const Byte* p) { return base::from_f16(u16(p)); }

void small(const Byte* p, float* out, bool with_min, bool five) {
  const float d = half(p), m = with_min ? half(p + 2) : 0.0f;
  p += with_min ? 4 : 2;
  std::uint32_t high = 0;
  if (five) std::memcpy(&high, p, 4), p += 4;
  const int bias = with_min ? 0 : five ? 16 : 8;
  for (int i = 0; i < 32; ++i) {
    const int q = ((p[i % 16] >> (i / 16 * 4)) & 15) | (int((high >> i) & 1u) << 4);
    const float product = d * float(q - bias);
    out[i] = with_min ? product + m : product;
  }
}

void k45(const Byte* p, float* out, bool five) {
  const float d = half(p), m = half(p + 2);
  const Byte* s = p + 4;
  const Byte* high = p + 16;
  const Byte* low = p + (five ? 48 : 16);
  for (int g = 0; g < 8; ++g) {
    const int scale = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6 << 4);
    const int min = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6 << 4);
    const float ds = d * float(scale), ms = m * float(min);
    for (int i = 0; i < 32; ++i) {
      int q = (low[g / 2 * 32 + i] >> (g % 2 * 4)) & 15;
      if (five) q |= ((high[i] >> g) & 1) << 4;
      const float product = ds * float(q);
      out[g * 32 + i] = product - ms;
    }
  }
}

void k6(const Byte* p, float* out) {
  const float d = half(p + 208);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, g = i % 128 / 32, l = i % 32;
    const int q = ((p[h * 64 + g % 2 * 32 + l] >> (g / 2 * 4)) & 15) | (((p[128 + h * 32 + l] >> (g * 2)) & 3) << 4);
    out[i] = d * float(std::int8_t(p[192 + i / 16])) * float(q - 32);
  }
}
}  // namespace

void dequantise(GgmlType type, const std::byte* blocks, std::int64_t count, float* out) {
  const auto* p = reinterpret_cast<const Byte*>(blocks);
  const std::int64_t n = type == GgmlType::F32 || type == GgmlType::F16 || type == GgmlType::BF16 ? 1 : type >= GgmlType::Q4_K ? 256 : 32;
  if (count < 0 || count % n) fail("count", "a multiple of " + std::to_string(n), std::to_string(count));
  for (std::int64_t at = 0; at < count; at += n, out += n) switch (type) {
      case GgmlType::F32:
        std::memcpy(out, p, 4);
        p += 4;
        break;
      case GgmlType::F16:
        *out = half(p);
        p += 2;
        break;
      case GgmlType::BF16:
        *out = base::from_bf16(u16(p));
        p += 2;
        break;
      case GgmlType::Q4_0:
        small(p, out, false, false);
        p += 18;
        break;
      case GgmlType::Q4_1:
        small(p, out, true, false);
        p += 20;
        break;
      case GgmlType::Q5_0:
        small(p, out, false, true);
        p += 22;
        break;
      case GgmlType::Q5_1:
        small(p, out, true, true);
        p += 24;
        break;
      case GgmlType::Q8_0:
        for (int i = 0; i < 32; ++i) out[i] = half(p) * float(std::int8_t(p[2 + i]));
        p += 34;
        break;
      case GgmlType::Q4_K:
        k45(p, out, false);
        p += 144;
        break;
      case GgmlType::Q5_K:
        k45(p, out, true);
        p += 176;
        break;
      case GgmlType::Q6_K:
        k6(p, out);
        p += 210;
        break;
      default:
        fail("type", "a known ggml type", std::to_string(std::uint32_t(type)));
    }
}

Tensor dequantise(const GgufTensor& tensor) {
  Tensor out(DType::f32, tensor.shape);
  dequantise(tensor.type, tensor.data, tensor.shape.count(), out.data<float>());
  return out;
}
}  // namespace v0
}  // namespace heed
