// SPDX-License-Identifier: Apache-2.0
// The only place that names threads. Worker w begins with task w, and so finds in its cache what it read and wrote there the last time; the
// other tasks come from a counter, in index order. Nothing is reduced across tasks.
#pragma once
#include <cstdint>
#include <functional>

namespace heed::base {

/// Threads a loop of `threads` (0: all) will use, at most 1024.
int thread_count(int threads);

/// task(index, worker) for index in [0, tasks), worker in [0, thread_count(threads)). The first exception is thrown
/// after the loop. Serial inside another parallel region.
void parallel(int threads, std::int64_t tasks, const std::function<void(std::int64_t, int)>& task);

}  // namespace heed::base
