// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/float16.h"
#include "engine/tiles.h"

namespace heed::engine {

void read_row(const kernel::Table& table, const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, float* to) {
  if (view.dtype == DType::f32) {
    const float* from = static_cast<const float*>(view.data) + offset;
    if (stride == 1) {
      std::memcpy(to, from, std::size_t(n) * sizeof(float));
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
    }
    return;
  }
  const std::uint16_t* from = static_cast<const std::uint16_t*>(view.data) + offset;
  const bool half = view.dtype == DType::f16;
  if (stride == 1) return (half ? table.widen_f16 : table.widen_bf16)(from, n, to);
  for (std::int64_t i = 0; i < n; ++i) to[i] = half ? base::from_f16(from[i * stride]) : base::from_bf16(from[i * stride]);
}

void write_row(const View& view, std::int64_t offset, std::int64_t stride, std::int64_t n, const float* from) {
  if (view.dtype == DType::f32) {
    float* to = static_cast<float*>(view.data) + offset;
    for (std::int64_t i = 0; i < n; ++i) to[i * stride] = from[i];
    return;
  }
  std::uint16_t* to = static_cast<std::uint16_t*>(view.data) + offset;
  const bool half = view.dtype == DType::f16;
  for (std::int64_t i = 0; i < n; ++i) to[i * stride] = half ? base::to_f16(from[i]) : base::to_bf16(from[i]);
}

bool pack_tile(const Call& call, std::int64_t b, std::int64_t g, std::int64_t tile, float* k, float* v, float* scratch) {
  constexpr int P = kernel::panel;
  const std::int64_t begin = tile * call.keys, length = call.key_lengths[std::size_t(b)];
  const std::int64_t count = std::clamp<std::int64_t>(length - begin, 0, call.keys), D = call.D, E = call.E, width = call.value_panels() * P;
  for (std::int64_t j = 0; j < call.keys; j += P) {
    for (std::int64_t i = 0; i < P; ++i) {
      float* row = scratch + i * D;
      if (j + i < count) {
        const auto& s = call.k.strides;
        read_row(*call.table, call.k, b * s[0] + (begin + j + i) * s[1] + g * s[2], s[3], D, row);
      } else {
        std::memset(row, 0, std::size_t(D) * sizeof(float));
      }
    }
    call.table->transpose(scratch, D, k + j * D);
  }
  bool finite = true;
  std::memset(scratch, 0, std::size_t(width) * sizeof(float));
  for (std::int64_t j = 0; j < call.keys; ++j) {
    if (j < count) {
      const auto& s = call.v.strides;
      read_row(*call.table, call.v, b * s[0] + (begin + j) * s[1] + g * s[2], s[3], E, scratch);
      finite &= call.table->finite(scratch, width);
    } else if (j == count) {
      std::memset(scratch, 0, std::size_t(width) * sizeof(float));
    }
    for (std::int64_t e = 0; e < width; e += P) std::memcpy(v + e * call.keys + j * P, scratch + e, P * sizeof(float));
  }
  return finite;
}

}  // namespace heed::engine
