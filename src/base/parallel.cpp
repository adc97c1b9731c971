// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>

namespace heed::base {

int thread_count(int threads) {
  if (omp_in_parallel()) return 1;
  return threads > 0 ? threads : omp_get_max_threads();
}

void parallel(int threads, std::int64_t tasks, const std::function<void(std::int64_t, int)>& task) {
  const int workers = int(std::min<std::int64_t>(thread_count(threads), tasks));
  if (workers <= 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
#pragma omp parallel num_threads(workers)
  {
    const int worker = omp_get_thread_num();
    for (std::int64_t i; !failed && (i = next++) < tasks;) {
      try {
        task(i, worker);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace heed::base
