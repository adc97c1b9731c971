// SPDX-License-Identifier: Apache-2.0
// SpAtten (Wang et al., 2021), the released policy for language models: a key's importance is what it was looked at, summed over the
// queries, per head and layer; the first tokens, the most important of the middle and the recent ones stay.
#include <algorithm>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Spatten : Mechanism {
  std::map<std::string, Tensor> attn, k, v, indices, scores;
  Tensor out;
  std::int64_t start_size = 4, recent_size = 128, important_size = 128, num_coming = 1;

  void describe(Declaration& d) override {
    d.param("start_size", start_size, "first tokens that stay").least(0);
    d.param("recent_size", recent_size, "last tokens that stay, those to come included").least(0);
    d.param("important_size", important_size, "most looked at that stay").least(0);
    d.param("num_coming", num_coming, "tokens about to come").least(0);
    d.inputs("attn{l}", attn, "1 H Nq N", "weights (or logits) of layer l").sample({"attn0", "attn1"}).between("0", "1");
    d.inputs("k{l}", k, "1 N H D", "keys").sample({"k0", "k1"});
    d.inputs("v{l}", v, "1 N H E", "values").sample({"v0", "v1"});
    d.output("out", out, "1 kept H D", "the keys that stay in the last layer");
    d.outputs("indices{l}", indices, "H kept", "what stays, ascending");
    d.outputs("scores{l}", scores, "H N", "importance");
  }

  void run(Ops& ops) override {
    if (attn.empty()) fail("input attn0", "at least one layer", "none");
    for (std::size_t l = 0; l < attn.size(); ++l) {
      const std::string at = std::to_string(l);
      if (!attn.count("attn" + at) || !k.count("k" + at) || !v.count("v" + at))
        fail("input attn" + at, "attn, k and v of every layer", "a layer that lacks one");
      const Tensor total = ops.sum(attn["attn" + at], {0, 2});
      scores["scores" + at] = total;
      const Tensor kept = indices["indices" + at] = choose(ops, ops.no_gradient(total, "choice of tokens"));
      if (l + 1 < attn.size()) continue;
      const Tensor keys = k["k" + at].permute({0, 2, 1, 3}).reshape({total.extent(0), total.extent(1), k["k" + at].extent(3)});
      out = ops.gather(keys, 1, kept.reshape({kept.extent(0), kept.extent(1), 1})).transpose(0, 1);
      out = out.reshape({1, out.extent(0), out.extent(1), out.extent(2)});
    }
  }

  Tensor choose(const Ops& ops, const Tensor& total) const {
    const auto H = total.extent(0), N = total.extent(1);
    const Tensor all = ops.arange(0, N).reshape({1, N}).broadcast({H, N}).dense();
    if (N + num_coming <= start_size + important_size + recent_size) return all;
    const auto last = std::min(N, N - recent_size + num_coming);  // as many to come as leave no room for recent ones: none stays
    if (important_size > last - start_size)
      fail("parameter important_size",
           "at most the " + std::to_string(std::max<std::int64_t>(last - start_size, 0)) + " between first and recent tokens",
           std::to_string(important_size));
    const Tensor best = ops.topk(total.slice(1, start_size, last - start_size), important_size, 1).second;
    for (std::int64_t h = 0; h < H; ++h) {
      auto* row = best.data<std::int64_t>() + h * important_size;
      std::for_each(row, row + important_size, [&](std::int64_t& i) { i += start_size; });
      std::sort(row, row + important_size);
    }
    return ops.concat({all.slice(1, 0, start_size), best, all.slice(1, last, N - last)}, 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(spatten, Spatten, "spatten", "tokens", "algorithm", 2,
               "SpAtten: Efficient Sparse Attention Architecture with Cascade Token and Head Pruning")
