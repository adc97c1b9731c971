// SPDX-License-Identifier: Apache-2.0
// exp(s) / (1 + sum exp(s)): a softmax that may look at nothing.
#include "mechanism/attention.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct SoftmaxPlusOne : Attention, CachedMixer {
  SoftmaxPlusOne() { weighting = "softmax_plus_one"; }
  void describe(Declaration& d) override {
    tensors(d, false);
    d.param("causal", causal, "query i sees keys j <= i + M - N");
    d.param("window", window, "[left, right]; -1 is unlimited").least(-1);
    options(d);
  }
  AttendOptions mixing() override { return attend_options(); }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(softmax_plus_one, SoftmaxPlusOne, "softmax-plus-one", "dense", "op", 1, "")
