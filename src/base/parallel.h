// SPDX-License-Identifier: Apache-2.0
// The only place that names threads. Worker w begins with task w, and so finds in its cache what it read and wrote there the last time; the
// other tasks come from a counter, in index order. Nothing is reduced across tasks.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace heed::base {

/// What a loop calls for each task; refers to the caller's own function, which outlives the loop.
class Task {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Task>)
  Task(F&& function)
      : function_(const_cast<void*>(static_cast<const void*>(std::addressof(function)))),
        call_([](void* f, std::int64_t index, int worker) { (*static_cast<std::remove_reference_t<F>*>(f))(index, worker); }) {}
  void operator()(std::int64_t index, int worker) const { call_(function_, index, worker); }

 private:
  void* function_;
  void (*call_)(void*, std::int64_t, int);
};

/// Threads a loop of `threads` (0: all) will use, at most 1024; one in a child forked from a process that had threads.
int thread_count(int threads);

/// task(index, worker) for index in [0, tasks), worker in [0, thread_count(threads)). The first exception is thrown
/// after the loop. Serial inside another parallel region.
void parallel(int threads, std::int64_t tasks, Task task);

}  // namespace heed::base
