// SPDX-License-Identifier: Apache-2.0
#include "base/pool.h"

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace heed::base {
namespace {

// A sanitizer must see every block come and go.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t most_kept = 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr std::size_t most_kept = 0;
#else
constexpr std::size_t most_kept = std::size_t{512} << 20;
#endif
#else
constexpr std::size_t most_kept = std::size_t{512} << 20;
#endif

/// Sizes come in steps of an eighth of their power of two, so that a block wastes little and fits many requests.
std::size_t rounded(std::size_t bytes) {
  std::size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

struct Pool {
  std::mutex lock;
  std::map<std::size_t, std::vector<void*>> waiting;
  PoolCount count;
};

/// Never destroyed: tensors of static storage give their blocks back at the very end.
Pool& pool() {
  static Pool* const the_pool = new Pool;
  return *the_pool;
}

void give_back(void* block, std::size_t size) {
  Pool& p = pool();
  {
    const std::lock_guard guard(p.lock);
    if (p.count.kept + size <= most_kept) {
      p.waiting[size].push_back(block);
      p.count.kept += size;
      return;
    }
  }
  std::free(block);
}

void* take(std::size_t size) {
  Pool& p = pool();
  {
    const std::lock_guard guard(p.lock);
    if (const auto found = p.waiting.find(size); found != p.waiting.end() && !found->second.empty()) {
      void* block = found->second.back();
      found->second.pop_back();
      p.count.kept -= size;
      return block;
    }
    ++p.count.asked;
  }
  void* block = std::aligned_alloc(64, size);
  if (!block) {  // what waits may be what is missing
    empty_pool();
    block = std::aligned_alloc(64, size);
  }
  if (!block) throw std::bad_alloc();
  return block;
}

}  // namespace

std::shared_ptr<void> allocate(std::size_t bytes) {
  const std::size_t size = rounded(bytes + 64);
  return {take(size), [size](void* block) { give_back(block, size); }};
}

PoolCount pool_count() {
  const std::lock_guard guard(pool().lock);
  return pool().count;
}

void empty_pool() {
  Pool& p = pool();
  const std::lock_guard guard(p.lock);
  for (auto& [size, blocks] : p.waiting)
    for (void* block : blocks) std::free(block);
  p.waiting.clear();
  p.count.kept = 0;
}

}  // namespace heed::base
