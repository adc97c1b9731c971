// SPDX-License-Identifier: Apache-2.0
#include "fuzz.h"
#include "heed/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::attempt([&] {
    const fuzz::File file(data, size);
    float sum = 0;
    for (const auto& [name, tensor] : heed::read_gguf(file.path()).tensors)
      if (tensor.shape.count() < 65536) {
        const heed::Tensor values = heed::dequantise(tensor);
        for (std::int64_t i = 0; i < values.count(); ++i) sum += values.data<float>()[i];
      }
    fuzz::use(sum);
  });
}
