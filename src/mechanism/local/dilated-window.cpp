// SPDX-License-Identifier: Apache-2.0
// A window with gaps: keys with (p - j) % dilation == 0 and |p - j| <= window * dilation.
#include "mechanism/attention.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct DilatedWindow : CausalAttention, CachedMixer {
  std::int64_t width = 128, dilation = 2;

  void describe(Declaration& d) override {
    tensors(d);
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.param("window", width, "keys on each side").least(0);
    d.param("dilation", dilation, "distance between two visible keys").least(1);
    options(d);
    d.param("weighting", weighting, "how scores become weights").one_of({"softmax", "sigmoid", "relu", "softmax_plus_one"});
  }
  void run(Ops& ops) override {
    auto o = attend_options();
    o.window_left = o.window_right = width * dilation;
    o.dilation = dilation;
    attend(ops, q, k, v, o);
  }

  AttendOptions mixing() override {
    auto o = attend_options();
    o.window_left = width * dilation;
    return o;
  }
  void mix_chunk(AttendOptions& o, const Chunk& c) override {
    mask = Tensor(DType::boolean, {c.queries, c.keys});
    for (std::int64_t i = 0; i < c.queries; ++i)
      for (std::int64_t j = 0; j < c.keys; ++j) mask.data<std::uint8_t>()[i * c.keys + j] = (c.first + i - c.from - j) % dilation == 0;
    o.mask = mask.view();
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(dilated_window, DilatedWindow, "dilated-window", "local", "op", 1, "")
