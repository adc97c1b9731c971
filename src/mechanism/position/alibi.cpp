// SPDX-License-Identifier: Apache-2.0
// ALiBi: scores lose slope_h |p - j|, slopes a geometric series over the heads.
#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct Alibi : CausalAttention {
  void run(Ops& ops) override {
    if (!alibi_slopes.defined()) alibi_slopes = Tensor::of(alibi(q.extent(2)), {q.extent(2)});
    Attention::run(ops);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(alibi, Alibi, "alibi", "position", "op", 1, "")
