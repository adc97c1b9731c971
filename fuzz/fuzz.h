// SPDX-License-Identifier: Apache-2.0
// What the targets share: bytes as a file, and the rule that only heed::Error may come out, or that memory is missing.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#include "heed/error.h"

namespace fuzz {

class File {
 public:
  File(const std::uint8_t* data, std::size_t size) : descriptor_(::memfd_create("fuzz", 0)) {
    if (descriptor_ < 0 || ::write(descriptor_, data, size) != ssize_t(size)) std::abort();
  }
  ~File() { ::close(descriptor_); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Keeps the optimiser from leaving reads out.
template <class T>
void use(T value) {
  volatile T sink = value;
  (void)sink;
}

template <class F>
int attempt(F&& body) {
  try {
    body();
  } catch (const heed::Error&) {
  } catch (const std::bad_alloc&) {  // a tensor of a gigabyte was asked for; larger vectors than that still end the run
  }
  return 0;
}

}  // namespace fuzz
