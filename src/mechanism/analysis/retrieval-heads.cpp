// SPDX-License-Identifier: Apache-2.0
// Retrieval heads (Wu et al., 2024), one needle test: a head scores 1/needle length for every step of decoding in which one of the
// keys it looks at most lies in the needle and holds the token that is generated (as released: a token generated again counts again,
// several such keys of one step count once).
#include <algorithm>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct RetrievalHeads : Mechanism {
  Tensor attentions, prompt_ids, generated, out;
  std::int64_t needle_start = 0, needle_end = 1, topk = 1;

  void describe(Declaration& d) override {
    d.no_gradients("a count of largest weights");
    d.param("needle_start", needle_start, "first token of the needle").least(0);
    d.param("needle_end", needle_end, "after its last token").least(1);
    d.param("topk", topk, "largest weights that count").least(1);
    d.input("attentions", attentions, "steps L H T", "row of the newest query at every step, zero beyond the keys so far")
        .between("0", "1");
    d.input("prompt_ids", prompt_ids, "T0", "tokens of the prompt").of(DType::i64).between("0", "99");
    d.input("generated", generated, "steps", "tokens that were generated").of(DType::i64).between("0", "99");
    d.size("steps", "16");
    d.size("L", "12");
    d.size("T0", "N");
    d.size("T", "T0+steps");
    d.output("out", out, "L H");
  }

  void run(Ops& ops) override {
    const auto steps = attentions.extent(0), L = attentions.extent(1), H = attentions.extent(2), T0 = prompt_ids.extent(0);
    if (needle_end <= needle_start || needle_end > T0)
      fail("parameter needle_end", "from needle_start + 1 to " + std::to_string(T0), std::to_string(needle_end));
    if (attentions.extent(3) < T0)
      fail("input attentions", "rows over the prompt's " + std::to_string(T0) + " tokens and more", std::to_string(attentions.extent(3)));
    if (topk > attentions.extent(3))
      fail("parameter topk", "at most " + std::to_string(attentions.extent(3)) + " keys", std::to_string(topk));
    const Tensor best = ops.topk(attentions, topk, 3).second, ids = prompt_ids.dense(), written = generated.dense();
    out = Tensor::zeros(DType::f32, {L, H});
    const auto *at = best.data<std::int64_t>(), *prompt = ids.data<std::int64_t>(), *tokens = written.data<std::int64_t>();
    const float each = 1 / float(needle_end - needle_start);
    for (std::int64_t s = 0; s < steps; ++s)
      for (std::int64_t head = 0; head < L * H; ++head, at += topk)
        if (std::any_of(at, at + topk,
                        [&](std::int64_t key) { return key >= needle_start && key < needle_end && prompt[key] == tokens[s]; }))
          out.data<float>()[head] += each;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(retrieval_heads, RetrievalHeads, "retrieval-heads", "analysis", "analysis", 2,
               "Retrieval Head Mechanistically Explains Long-Context Factuality")
