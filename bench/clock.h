// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <time.h>

/// Seconds of this thread's CPU time.
inline double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}
