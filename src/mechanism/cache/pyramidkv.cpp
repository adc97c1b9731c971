// SPDX-License-Identifier: Apache-2.0
// PyramidKV (Cai et al., 2024) over SnapKV's choice: a key's score is the attention of the last window of queries, pooled over its
// neighbours; each layer keeps its best keys besides the window, fewer the higher it lies (integers as released).
#include <algorithm>
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct PyramidKv : Mechanism {
  Tensor q, k, v, out, capacities;
  std::vector<Tensor> indices;
  std::string selector = "pyramidkv", pooling = "avgpool", gqa_score_agg = "mean";
  std::int64_t num_hidden_layers = 32, window_size = 64, max_capacity_prompt = 320, kernel_size = 5, beta = 20;

  void describe(Declaration& d) override {
    d.param("selector", selector, "snapkv gives every layer the same").one_of({"pyramidkv", "snapkv"});
    d.param("num_hidden_layers", num_hidden_layers, "layers that share the budget").least(1).most(1000);
    d.param("window_size", window_size, "last queries, whose keys always stay").least(1);
    d.param("max_capacity_prompt", max_capacity_prompt, "mean number of keys a layer keeps, window included").least(1);
    d.param("kernel_size", kernel_size, "keys that are pooled").least(1);
    d.param("pooling", pooling, "how").one_of({"avgpool", "maxpool"});
    d.param("beta", beta, "the mean over the top layer's budget").least(1);
    d.param("gqa_score_agg", gqa_score_agg, "over the query heads of a group").one_of({"mean", "max", "sum"});
    d.input("q", q, "B N H D", "queries of the whole prompt, rotated");
    d.input("k", k, "B N KV D", "keys");
    d.input("v", v, "B N KV D", "values");
    d.output("out", out, "B KV N-window_size", "pooled scores");
    d.output("capacities", capacities, "num_hidden_layers", "keys each layer keeps besides the window").of(DType::i64);
    indices.resize(std::size_t(num_hidden_layers));
    for (std::size_t l = 0; l < indices.size(); ++l)
      d.output("indices_l" + std::to_string(l), indices[l], "B KV capacity", "ascending").of(DType::i64);
  }

  std::vector<std::int64_t> budget(std::int64_t N) const {
    const auto L = num_hidden_layers, rest = N - window_size, mean = max_capacity_prompt - window_size;
    std::vector<std::int64_t> each(std::size_t(L), N < max_capacity_prompt ? rest : mean);
    if (N < max_capacity_prompt || N < 2 * mean || selector == "snapkv") return each;
    std::int64_t least = mean / beta, most = 2 * mean - least;
    if (most >= rest) most = rest, least = 2 * mean - most;
    const auto step = L > 1 ? (most - least) / (L - 1) : 0;
    for (std::int64_t l = 0; l < L; ++l) each[std::size_t(l)] = most - l * step;
    return each;
  }

  /// The `kernel_size` neighbours of each score: zeros outside count in the mean.
  Tensor pool(const Ops& ops, const Tensor& x) const {
    const auto side = kernel_size / 2, length = x.extent(2) + 2 * side - kernel_size + 1;
    const Tensor padded = ops.pad(x, 2, side, side, pooling == "avgpool" ? 0.0f : -1.0f);  // scores are not negative
    Tensor result = padded.slice(2, 0, length);
    for (std::int64_t i = 1; i < kernel_size; ++i) {
      const Tensor next = padded.slice(2, i, length);
      result = pooling == "avgpool" ? ops.add(result, next) : ops.maximum(result, next);
    }
    return pooling == "avgpool" ? ops.scale(result, 1 / float(kernel_size)) : result;
  }

  /// The `kept` best of n, ascending. A pooled maximum is shared by neighbours: which of equal scores stay is settled as in the
  /// released code, whose choice (torch.topk on a CPU) is what the standard library's selection leaves in front.
  static void choose(const float* scores, std::int64_t n, std::int64_t* to, std::int64_t kept) {
    if (kept == 0) return;
    std::vector<std::pair<float, std::int64_t>> order;
    for (std::int64_t j = 0; j < n; ++j) order.emplace_back(scores[j], j);
    const auto better = [](const auto& a, const auto& b) { return (std::isnan(a.first) && !std::isnan(b.first)) || a.first > b.first; };
    if (kept * 64 <= n)
      std::partial_sort(order.begin(), order.begin() + kept, order.end(), better);
    else
      std::nth_element(order.begin(), order.begin() + kept - 1, order.end(), better);
    for (std::int64_t i = 0; i < kept; ++i) to[i] = order[std::size_t(i)].second;
    std::sort(to, to + kept);
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), G = k.extent(2);
    if (N <= window_size) fail("input q", "more tokens than window_size = " + std::to_string(window_size), std::to_string(N));
    if (max_capacity_prompt <= window_size)
      fail("parameter max_capacity_prompt", "more than window_size", std::to_string(max_capacity_prompt));
    if (kernel_size % 2 == 0) fail("parameter kernel_size", "an odd number", std::to_string(kernel_size));
    if (G < 1 || H % G) fail("input k", "heads that divide " + std::to_string(H), std::to_string(G));
    AttendOptions o;
    o.causal = true;
    const Tensor seen = ops.attend(q.slice(1, N - window_size, window_size), k, v, o, want_column_sums).column_sums;
    const Tensor grouped = seen.slice(2, 0, N - window_size).reshape({B, G, H / G, N - window_size});
    out = pool(ops, gqa_score_agg == "mean"  ? ops.mean(grouped, {2})
                    : gqa_score_agg == "max" ? ops.max(grouped, {2})
                                             : ops.sum(grouped, {2}));
    const auto each = budget(N);
    capacities = Tensor(DType::i64, {num_hidden_layers});
    std::copy(each.begin(), each.end(), capacities.data<std::int64_t>());
    const Tensor scores = ops.no_gradient(out, "choice of keys").dense();
    for (std::size_t l = 0; l < indices.size(); ++l) {
      if (!wants(indices[l])) continue;
      const auto kept = std::min(each[l], scores.extent(2));
      indices[l] = Tensor(DType::i64, {B, G, kept});
      for (std::int64_t row = 0; row < B * G; ++row)
        choose(scores.data<float>() + row * scores.extent(2), scores.extent(2), indices[l].data<std::int64_t>() + row * kept, kept);
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(pyramidkv, PyramidKv, "pyramidkv", "cache", "algorithm", 1,
               "PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling")
