// SPDX-License-Identifier: Apache-2.0
// Case files: whatever they say, a run ends in results or in an error. Small ones only, so that a run is short.
#include "fuzz.h"
#include "heed/catalogue.h"
#include "heed/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::attempt([&] {
    const fuzz::File file(data, size);
    std::int64_t elements = 0;
    for (const auto& [name, tensor] : heed::read_safetensors(file.path()).tensors) {
      elements += tensor.count();
      for (int axis = 0; axis < tensor.rank(); ++axis) elements = std::max(elements, tensor.extent(axis));
    }
    if (elements > 4096) return;
    heed::Context context;
    context.threads = 1;
    fuzz::use(heed::verify(file.path(), context).size());
  });
}
