// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>

// std::thread where HEED_STD_THREADS says so: TSan reports g++'s OpenMP falsely, and clang would need a runtime of its own.
#ifdef HEED_STD_THREADS
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif
#ifdef __linux__
#include <pthread.h>
#include <sys/stat.h>
#endif

namespace heed::base {
namespace {

#ifdef HEED_STD_THREADS
thread_local bool inside = false;
bool nested() { return inside; }
int most_threads() { return int(std::max(1u, std::thread::hardware_concurrency())); }

template <class F>
void on_each(int workers, F&& body) {
  std::vector<std::thread> others;
  const auto work = [&](int worker) {
    inside = true;
    body(worker, workers);
    inside = false;
  };
  for (int worker = 1; worker < workers; ++worker) others.emplace_back(work, worker);
  work(0);
  for (auto& thread : others) thread.join();
}
#else
bool nested() { return omp_in_parallel() != 0; }
int most_threads() { return omp_get_max_threads(); }

template <class F>
void on_each(int workers, F&& body) {
#pragma omp parallel num_threads(workers)
  body(omp_get_thread_num(), omp_get_num_threads());
}
#endif

// OpenMP's threads do not come along into a forked child, which would wait for them for ever. Where the parent had any threads, whoever
// made them (torch shares OpenMP's), the child keeps to its one.
bool threads_lost = false;
#ifdef __linux__
bool has_threads = false;
[[maybe_unused]] const int at_fork = pthread_atfork(
    [] {
      struct stat tasks {};
      has_threads = ::stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink > 3;  // two links and one a thread
    },
    nullptr, [] { threads_lost = threads_lost || has_threads; });
#endif

}  // namespace

int thread_count(int threads) {
  if (threads_lost || nested()) return 1;
  return threads > 0 ? std::min(threads, 1024) : most_threads();  // where a thread cannot be made, OpenMP ends the process
}

void parallel(int threads, std::int64_t tasks, Task task) {
  const int workers = int(std::min<std::int64_t>(thread_count(threads), tasks));
  if (workers <= 1) {
    for (std::int64_t i = 0; i < tasks; ++i) task(i, 0);
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  on_each(workers, [&](int worker, int all) {
    for (std::int64_t i = worker; !failed && i < tasks; i = all < tasks ? all + next++ : tasks) {
      try {
        task(i, worker);
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
}

}  // namespace heed::base
