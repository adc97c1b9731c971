// SPDX-License-Identifier: Apache-2.0
// The A shape: the first keys and a window of the latest ones. j <= p and (j < sinks or p - j <= left).
#include "mechanism/attention.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct SinkWindow : CausalAttention, WindowMixer {
  std::int64_t sinks = 4;
  SinkWindow() { window = {1023, 0}; }

  void describe(Declaration& d) override {
    Attention::describe(d);
    d.param("sinks", sinks, "keys at the start that stay visible").least(0);
  }
  void run(Ops& ops) override {
    auto o = attend_options();
    o.first_keys = sinks;
    attend(ops, q, k, v, o);
  }
  Look look() override {
    const auto options = attend_options();
    return {sinks, options.window_left, options};
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sink_window, SinkWindow, "sink-window", "local", "op", 1, "")
