// SPDX-License-Identifier: Apache-2.0
// Every query sees a band of keys around its own position; tiles outside the band are never visited.
#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct SlidingWindow : CausalAttention {
  SlidingWindow() { window = {1023, 0}; }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sliding_window, SlidingWindow, "sliding-window", "local", "op", 1, "")
