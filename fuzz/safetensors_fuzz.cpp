// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "heed/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::attempt([&] {
    const fuzz::File file(data, size);
    unsigned sum = 0;
    for (const auto& [name, tensor] : heed::read_safetensors(file.path()).tensors) {
      const auto* bytes = tensor.data<const unsigned char>();
      for (std::size_t i = 0; i < std::size_t(tensor.count()) * heed::size_of(tensor.dtype()); ++i) sum += bytes[i];
    }
    fuzz::use(sum);
  });
}
