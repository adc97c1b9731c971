// SPDX-License-Identifier: Apache-2.0
#include "base/pool.h"

#ifdef __linux__
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace heed::base {
namespace {

// A sanitizer must see every block come and go.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool keeps = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool keeps = false;
#else
constexpr bool keeps = true;
#endif
#else
constexpr bool keeps = true;
#endif

/// The most bytes that wait: an eighth of the memory that this process may use, 4 GiB at most. A large result of fresh memory costs as
/// much again as computing it, for the system clears its pages.
std::size_t most_kept() {
  static const std::size_t most = [] {
    std::size_t memory = std::size_t{4} << 30;
#ifdef __linux__
    memory = std::size_t(sysconf(_SC_PHYS_PAGES)) * std::size_t(sysconf(_SC_PAGESIZE));
    std::size_t group = 0;  // a container's share; "max" where there is no bound
    if (std::ifstream file("/sys/fs/cgroup/memory.max"); file >> group) memory = std::min(memory, group);
#endif
    return std::min(memory / 8, std::size_t{4} << 30);
  }();
  return keeps ? most : 0;
}

constexpr std::size_t head = 64;  // bytes in front of the data

/// Sizes come in steps of an eighth of their power of two, so that a block wastes little and fits many requests.
std::size_t rounded(std::size_t bytes) {
  std::size_t step = 64;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

constexpr std::size_t large_page = std::size_t{2} << 20;

/// Memory of the system, in large pages where it has them and at most a quarter would be lost: large results then miss few translations.
void* from_system(std::size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const std::size_t whole = (size + large_page - 1) / large_page * large_page;
  if (keeps && size >= large_page / 2) {
    void* block = std::aligned_alloc(large_page, whole);
    if (block) madvise(block, whole - size <= whole / 4 ? whole : size / 4096 * 4096, MADV_HUGEPAGE);  // advice: it may fail
    return block;
  }
#endif
  return std::aligned_alloc(64, size);
}

/// Says how much was missing; a std::bad_alloc, so that callers (Python: MemoryError) know what it is.
class NoMemory : public std::bad_alloc {
 public:
  explicit NoMemory(std::size_t bytes) {
    std::snprintf(text_, sizeof text_, "memory: expected %.1f MiB for a tensor, got none from the system", double(bytes) / 1048576);
  }
  const char* what() const noexcept override { return text_; }

 private:
  char text_[96];
};

struct Pool {
  std::mutex lock;
  std::map<std::size_t, std::vector<void*>> waiting;
  PoolCount count;
};

/// Never destroyed: tensors of static storage give their blocks back at the very end.
Pool& pool() {
  static Pool* const the_pool = [] {
    auto* made = new Pool;
#ifdef __linux__  // a child forked while another thread holds the lock would never get it
    pthread_atfork([] { pool().lock.lock(); }, [] { pool().lock.unlock(); }, [] { pool().lock.unlock(); });
#endif
    return made;
  }();
  return *the_pool;
}

void keep_or_free(void* block, std::size_t size) {
  Pool& p = pool();
  {
    const std::lock_guard guard(p.lock);
    if (p.count.kept + size <= most_kept()) {
      p.waiting[size].push_back(block);
      p.count.kept += size;
      return;
    }
  }
  std::free(block);
}

/// A few small blocks of each size wait in the thread that gave them back, where no lock is needed; each names the next.
struct Near {
  static constexpr std::size_t largest = 16384;
  static constexpr int most = 8;
  struct List {
    void* first = nullptr;
    int count = 0;
  };
  std::array<List, largest / 64 + 1> lists;

  List* of(std::size_t size) { return size <= largest && keeps ? &lists[size / 64] : nullptr; }
  static void* take(List& list) {
    void* block = list.first;
    std::memcpy(&list.first, block, sizeof(void*));
    --list.count;
    return block;
  }
  static void give_back(List& list, void* block) {
    std::memcpy(block, &list.first, sizeof(void*));
    list.first = block;
    ++list.count;
  }
  void empty() {
    for (std::size_t i = 0; i < lists.size(); ++i)
      while (lists[i].count) keep_or_free(take(lists[i]), i * 64);
  }

  Near() = default;
  ~Near() { empty(), ended = true; }
  static thread_local bool ended;  ///< tensors may outlive what their thread kept
};
thread_local bool Near::ended = false;

Near* near() {
  thread_local Near the_near;
  return Near::ended ? nullptr : &the_near;
}

void give_back(void* block, std::size_t size) {
  if (Near* n = near())
    if (auto* list = n->of(size); list && list->count < Near::most) return Near::give_back(*list, block);
  keep_or_free(block, size);
}

void* take(std::size_t size) {
  if (Near* n = near())
    if (auto* list = n->of(size); list && list->count) return Near::take(*list);
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
  void* block = from_system(size);
  if (!block) {  // what waits may be what is missing
    empty_pool();
    block = from_system(size);
  }
  if (!block) throw NoMemory(size);
  return block;
}

/// Puts what a shared_ptr counts with at the head of the block itself, whose end is then the block's.
template <class T>
struct AtHead {
  using value_type = T;
  void* block;
  std::size_t size;

  AtHead(void* b, std::size_t s) : block(b), size(s) {}
  template <class U>
  AtHead(const AtHead<U>& other) : block(other.block), size(other.size) {}
  T* allocate(std::size_t) {
    static_assert(sizeof(T) <= head && alignof(T) <= 64);
    return static_cast<T*>(block);
  }
  void deallocate(T*, std::size_t) { give_back(block, size); }
  template <class U>
  bool operator==(const AtHead<U>& other) const {
    return block == other.block;
  }
};

}  // namespace

std::shared_ptr<void> allocate(std::size_t bytes) {
  const std::size_t size = rounded(head + bytes + 64);
  void* block = take(size);
  return {static_cast<char*>(block) + head, [](void*) {}, AtHead<char>(block, size)};
}

PoolCount pool_count() {
  const std::lock_guard guard(pool().lock);
  return pool().count;
}

void empty_pool() {
  if (Near* n = near()) n->empty();
  Pool& p = pool();
  const std::lock_guard guard(p.lock);
  for (auto& [size, blocks] : p.waiting)
    for (void* block : blocks) std::free(block);
  p.waiting.clear();
  p.count.kept = 0;
}

}  // namespace heed::base
