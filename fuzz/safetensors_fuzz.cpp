// SPDX-License-Identifier: Apache-2.0
// libFuzzer target, not built by default:
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -Iinclude -Isrc fuzz/safetensors_fuzz.cpp
//     src/format/mapping.cpp src/format/safetensors.cpp src/base/tensor.cpp src/base/error.cpp
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "heed/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const int fd = ::memfd_create("fuzz", 0);
  if (fd < 0 || ::write(fd, data, size) != ssize_t(size)) std::abort();
  try {
    const heed::SafeTensors content = heed::read_safetensors("/proc/self/fd/" + std::to_string(fd));
    unsigned sum = 0;
    for (const auto& [name, tensor] : content.tensors) {
      const auto* bytes = tensor.data<const unsigned char>();
      for (std::size_t i = 0; i < std::size_t(tensor.count()) * heed::size_of(tensor.dtype()); ++i) sum += bytes[i];
    }
    volatile unsigned used = sum;
    (void)used;
  } catch (const heed::Error&) {
  }
  ::close(fd);
  return 0;
}
