// SPDX-License-Identifier: Apache-2.0
// A window with gaps: keys with (p - j) % dilation == 0 and |p - j| <= window * dilation.
#include <cstdlib>

#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct DilatedWindow : CausalAttention {
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
    mask = pair_mask([&](auto p, auto j) {
      return (!causal || j <= p) && (p - j) % dilation == 0 && std::abs(p - j) <= width * dilation;
    });
    attend(ops, q, k, v, attend_options());
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(dilated_window, DilatedWindow, "dilated-window", "local", "op", 1, "")
