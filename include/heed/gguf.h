// SPDX-License-Identifier: Apache-2.0
// The GGUF file format, versions 2 and 3, little-endian (ggml's docs/gguf.md; the blocks: ggml's ggml-common.h).
#pragma once
#include <map>
#include <string>
#include <variant>

#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// ggml's numbers. Blocks, d and m being f16, bytes in order; low nibbles are a half's first values:
///   Q4_0 32: d, 16 nibbles (q-8)d | Q4_1 32: d, m, 16 nibbles qd+m | Q5_0 32: d, u32 high bits, 16 nibbles (q-16)d
///   Q5_1 32: d, m, u32 high bits, 16 nibbles qd+m | Q8_0 32: d, 32 i8
///   Q4_K 256: d, m, 12 bytes of 8 6-bit scales and mins, 128 nibbles | Q5_K 256: same, 32 bytes of high bits before them
///   Q6_K 256: 128 low nibbles, 64 bytes of high pairs, 16 i8 scales, d
enum class GgmlType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  BF16 = 30
};

using GgufValue = std::variant<bool, std::int64_t, std::uint64_t, double, std::string, std::vector<bool>, std::vector<std::int64_t>,
                               std::vector<std::uint64_t>, std::vector<double>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::F32;
  Shape shape;  ///< row-major: ggml's dims reversed
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
};

class Gguf {
 public:
  std::map<std::string, GgufValue> metadata;
  std::map<std::string, GgufTensor> tensors;
  std::shared_ptr<const void> owner;  ///< the mapping that every tensor's data lies in
};

/// Throws Error, naming file and tensor or key, for anything malformed.
Gguf read_gguf(const std::string& path);

/// `count` values, whole blocks.
void dequantise(GgmlType type, const std::byte* blocks, std::int64_t count, float* out);
Tensor dequantise(const GgufTensor& tensor);

}  // namespace v0
}  // namespace heed
