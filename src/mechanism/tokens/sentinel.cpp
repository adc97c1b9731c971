// SPDX-License-Identifier: Apache-2.0
// Sentinel (Zhang et al., 2025): how much the last token looks at each sentence, per layer and head: its weights over the context,
// renormalised, their mean over the sentence's tokens. A linear classifier on these features chooses sentences.
#include <algorithm>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Sentinel : Mechanism {
  std::vector<Tensor> q, k;
  Tensor sentences, out;
  std::int64_t context_start = 0, context_end = 0, num_layers = 1;
  std::optional<std::int64_t> num_heads, num_kv_heads;

  void describe(Declaration& d) override {
    d.param("context_start", context_start, "first token of the context").least(0);
    d.param("context_end", context_end, "its last token").least(0).example("63");
    d.param("num_layers", num_layers, "layers").least(1).most(1000);
    d.param("num_heads", num_heads, "query heads").computed("H");
    d.param("num_kv_heads", num_kv_heads, "key heads").computed("KV");
    q.resize(std::size_t(num_layers)), k.resize(std::size_t(num_layers));
    for (std::size_t l = 0; l < q.size(); ++l) {
      d.input("q" + std::to_string(l), q[l], num_heads ? "1 N num_heads D" : "1 N H D", "queries");
      d.input("k" + std::to_string(l), k[l], num_kv_heads ? "1 N num_kv_heads D" : "1 N KV D", "keys");
    }
    d.input("sentences", sentences, "S 2", "first and last token").of(DType::i64).example({"context_start+8*i", "context_start+8*i+7"});
    d.size("S", "(context_end+1-context_start)//8");
    d.output("out", out, "S features", "layer major, head minor");
  }

  void run(Ops& ops) override {
    const auto N = q[0].extent(1), S = sentences.extent(0);
    if (context_end < context_start || context_end >= N)
      fail("parameter context_end", "from context_start to " + std::to_string(N - 1), std::to_string(context_end));
    // Row s: 1/length at the sentence's tokens of the context.
    const Tensor spans = sentences.dense(), mean = Tensor::zeros(DType::f32, {S, context_end - context_start + 1});
    for (std::int64_t s = 0; s < S; ++s) {
      // As released: a sentence that reaches out of the context is cut to it.
      const auto first = std::clamp(spans.data<std::int64_t>()[2 * s], context_start, context_end);
      const auto last = std::max(first, std::min(spans.data<std::int64_t>()[2 * s + 1], context_end));
      for (auto i = first; i <= last; ++i) mean.data<float>()[s * mean.extent(1) + i - context_start] = 1 / float(last - first + 1);
    }
    std::vector<Tensor> features;
    const Tensor least = ops.full({}, 1e-8f);  // as released, where the query hardly looks at the context
    for (std::size_t l = 0; l < q.size(); ++l) {
      const auto H = q[l].extent(2);
      const Tensor none = Tensor::zeros(DType::f32, {1, N, k[l].extent(2), 1});
      const Tensor seen = ops.attend(q[l].slice(1, N - 1, 1), k[l], none, {}, want_weights).weights.reshape({H, N});
      const Tensor context = seen.slice(1, context_start, context_end - context_start + 1);
      features.push_back(ops.matmul(mean, ops.div(context, ops.maximum(ops.sum(context, {1}, true), least)).transpose(0, 1)));
    }
    out = ops.concat(features, 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sentinel, Sentinel, "sentinel", "tokens", "algorithm", 2,
               "Sentinel: Attention Probing of Proxy Models for LLM Context Compression with an Understanding Perspective")
