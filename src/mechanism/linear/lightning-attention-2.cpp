// SPDX-License-Identifier: Apache-2.0
// Lightning Attention-2 (Qin et al., 2024): causal linear attention that forgets at a rate of each head's own,
//   out_i = sum_{j <= i} exp(-s_h (i - j)) (q_i . k_j) v_j,
// products inside a block of tokens and a state D x E between blocks: the scan engine with one decay a head.
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct LightningAttention2 : Mechanism {
  Tensor q, k, v, s, out;
  std::optional<std::int64_t> num_heads, layer_idx, num_layers;
  bool no_decay = false;

  void describe(Declaration& d) override {
    d.param("num_heads", num_heads, "heads").least(1).computed("H");
    d.param("layer_idx", layer_idx, "of which layer the slopes are; says how s was made").least(0);
    d.param("num_layers", num_layers, "of how many layers; says how s was made").least(1);
    d.param("no_decay", no_decay, "leaves s out");
    const std::string heads = num_heads ? "num_heads" : "H";
    d.input("q", q, "B N " + heads + " D", "queries");
    d.input("k", k, "B N " + heads + " D", "keys");
    d.input("v", v, "B N " + heads + " E", "values");
    d.input("s", s, heads, "slopes: a step multiplies by exp(-s); absent, nothing decays").optional();
    d.output("out", out, "B N " + heads + " E");
  }

  void run(Ops& ops) override {
    ScanTerms terms;
    if (s.defined() && !no_decay) terms.decay = ops.neg(s).reshape({s.extent(0), 1});
    out = ops.scan(q, k, v, terms).out;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(lightning_attention_2, LightningAttention2, "lightning-attention-2", "linear", "op", 1,
               "Lightning Attention-2: A Free Lunch for Handling Unlimited Sequence Lengths in Large Language Models")
