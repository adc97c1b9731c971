// SPDX-License-Identifier: Apache-2.0
// Every query sees a band of keys around its own position; tiles outside the band are never visited.
#include "mechanism/attention.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct SlidingWindow : CausalAttention, WindowMixer {
  SlidingWindow() { window = {1023, 0}; }
  Look look() override {
    const auto options = attend_options();
    return {0, options.window_left, options};
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sliding_window, SlidingWindow, "sliding-window", "local", "op", 1, "")
