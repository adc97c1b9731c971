// SPDX-License-Identifier: Apache-2.0
// The safetensors file format: named tensors and text metadata.
#pragma once
#include <map>
#include <string>

#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

struct SafeTensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// Maps the file; its tensors are read-only views that keep the mapping alive (those that lie unaligned for their dtype are
/// copied). Writing to such a view is an access violation: copy first. The file must not be shortened while it is in use.
/// Throws Error, naming file and tensor, for anything malformed: unknown dtypes (F64 among them), offsets that do not tile
/// the data exactly, names given twice.
SafeTensors read_safetensors(const std::string& path);

/// Writes to a temporary file in the same folder and renames it, so that `path` is never half-written. Strided tensors are
/// made dense.
void write_safetensors(const std::string& path, const SafeTensors& content);

}  // namespace v0
}  // namespace heed
