// SPDX-License-Identifier: Apache-2.0
// Storage of tensors: blocks that were given back are handed out again, so that a second call of the same shapes asks the system
// for nothing and touches pages that are there. One pool a process, as tensors outlive the call that made them (docs/adr/0003).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace heed::base {

/// 64-byte aligned, not initialised, with room for reading 64 bytes past the end. Throws std::bad_alloc.
std::shared_ptr<void> allocate(std::size_t bytes);

struct PoolCount {
  std::int64_t asked = 0;  ///< blocks the system was asked for so far
  std::size_t kept = 0;    ///< bytes that wait to be used again, but for small blocks in their threads
};
PoolCount pool_count();
/// Gives what waits back to the system, but for the few small blocks that other threads keep.
void empty_pool();

}  // namespace heed::base
