// SPDX-License-Identifier: Apache-2.0
// Key-driven grouped-query attention (Khan et al., 2024): groups of uneven size, by the norms of the key heads.
//   n_g = sum over the batch of |K_g|_F;  t = (n - min)/(max - min)  (kdgqa), |cache - n| or beta n + (1 - beta) cache (dgqa)
//   splits = round(t / sum(t) * H), then the largest loses or the smallest gains ones until the sum is H
#include <algorithm>
#include <cmath>
#include <numeric>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Kdgqa : Mechanism {
  Tensor x, cache, wq, bq, wk, bk, wv, bv, wo, bo, out, splits, k_norms, cache_new;
  std::string kind = "kdgqa";
  std::optional<std::int64_t> dim, num_kv_heads;
  std::int64_t num_heads = 8;
  double beta = 0.9;

  void describe(Declaration& d) override {
    d.param("kind", kind, "how norms become sizes of groups").one_of({"kdgqa", "dgqa-diff", "dgqa-ema"});
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "query heads").least(1);
    d.param("num_kv_heads", num_kv_heads, "key and value heads").least(1).computed("num_heads/2");
    d.param("beta", beta, "of dgqa-ema").least(0).most(1);
    d.input("x", x, "B N dim", "tokens");
    d.input("cache", cache, "num_kv_heads", "earlier k_norms").no_gradient().when(kind != "kdgqa", "kind=dgqa-*");
    d.weight("q.weight", wq, "dim dim");
    d.weight("q.bias", bq, "dim").optional();
    d.weight("k.weight", wk, "GD dim");
    d.weight("k.bias", bk, "GD").optional();
    d.weight("v.weight", wv, "GD dim");
    d.weight("v.bias", bv, "GD").optional();
    d.weight("proj.weight", wo, "dim dim");
    d.weight("proj.bias", bo, "dim").optional();
    d.output("out", out, "B N dim");
    d.output("splits", splits, "num_kv_heads", "query heads of each group").of(DType::i64);
    d.output("k_norms", k_norms, "num_kv_heads");
    d.output("cache_new", cache_new, "num_kv_heads").when(kind != "kdgqa", "kind=dgqa-*");
  }

  std::vector<std::int64_t> sizes(const std::vector<double>& norms) const {
    const auto [low, high] = std::minmax_element(norms.begin(), norms.end());
    std::vector<double> t;
    for (std::size_t g = 0; g < norms.size(); ++g) {
      if (kind == "kdgqa")
        t.push_back((norms[g] - *low) / (*high - *low));
      else {
        const double before = cache.dense().data<float>()[g];
        t.push_back(kind == "dgqa-diff" ? std::abs(before - norms[g]) : beta * norms[g] + (1 - beta) * before);
      }
    }
    double total = std::accumulate(t.begin(), t.end(), 0.0);
    if (!(total > 0)) std::fill(t.begin(), t.end(), 1.0), total = double(t.size());
    std::vector<std::int64_t> counts;
    for (const double value : t) counts.push_back(std::int64_t(std::nearbyint(value / total * double(num_heads))));
    auto sum = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
    for (; sum > num_heads; --sum) --*std::max_element(counts.begin(), counts.end());
    for (; sum < num_heads; ++sum) ++*std::min_element(counts.begin(), counts.end());
    return counts;
  }

  void run(Ops& ops) override {
    const auto G = num_kv_heads.value_or(std::max<std::int64_t>(1, num_heads / 2));
    const Tensor q = split_heads(ops.linear(x, wq, bq), num_heads);
    if (wk.extent(0) != G * q.extent(3))
      fail("weight k.weight", "num_kv_heads*dim/num_heads rows, " + std::to_string(G * q.extent(3)), std::to_string(wk.extent(0)));
    const Tensor k = split_heads(ops.linear(x, wk, bk), G), v = split_heads(ops.linear(x, wv, bv), G);
    k_norms = ops.sum(ops.sqrt(ops.sum(ops.square(k), {1, 3})), {0}).dense();
    cache_new = k_norms;
    const Tensor norms = ops.no_gradient(k_norms, "sizes of groups");
    const auto counts = sizes({norms.data<float>(), norms.data<float>() + G});
    splits = Tensor(DType::i64, {G});
    std::copy(counts.begin(), counts.end(), splits.data<std::int64_t>());
    std::vector<Tensor> mixed;
    for (std::int64_t g = 0, at = 0; g < G; at += counts[std::size_t(g++)])
      if (const auto n = counts[std::size_t(g)]; n > 0)
        mixed.push_back(ops.attend(q.slice(2, at, n), k.slice(2, g, 1), v.slice(2, g, 1)).out);
    out = ops.linear(join_heads(ops.concat(mixed, 2)), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(kdgqa, Kdgqa, "kdgqa", "heads", "op", 2, "Beyond Uniform Query Distribution: Key-Driven Grouped Query Attention")
