// SPDX-License-Identifier: Apache-2.0
// Key-driven grouped-query attention (Khan et al., 2024): groups of uneven size, by the norms of the key heads.
//   n_g = sum over the batch of |K_g|_F;  t = (n - min)/(max - min)  (kdgqa), |cache - n| or beta n + (1 - beta) cache (dgqa)
//   splits = round(t / sum(t) * H), then the largest loses or the smallest gains ones until the sum is H
//   pgqa: even groups; each head's output less noise of its own mean and deviation, standardised from uniform rows whose
//   diagonal (head i of its group, element i) is 0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Kdgqa : Mechanism {
  Tensor x, cache, noise, wq, bq, wk, bk, wv, bv, wo, bo, out, splits, k_norms, cache_new;
  std::string kind = "kdgqa";
  std::optional<std::int64_t> dim, num_kv_heads;
  std::int64_t num_heads = 8;
  double beta = 0.9;

  void describe(Declaration& d) override {
    d.param("kind", kind, "how norms become sizes of groups; pgqa: even groups, perturbed")
        .one_of({"kdgqa", "dgqa-diff", "dgqa-ema", "pgqa"});
    const bool cached = kind == "dgqa-diff" || kind == "dgqa-ema";
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "query heads").least(1);
    d.param("num_kv_heads", num_kv_heads, "key and value heads").least(1).computed("num_heads/2");
    d.param("beta", beta, "of dgqa-ema").least(0).most(1);
    d.input("x", x, "B N dim", "tokens");
    d.input("cache", cache, "num_kv_heads", "earlier k_norms").between("0.5", "2").no_gradient().when(cached, "kind=dgqa-*");
    d.input("noise", noise, "num_heads N*dim/num_heads", "uniform; drawn from the seed unless given")
        .between("0", "1")
        .optional()
        .no_gradient()
        .when(kind == "pgqa", "kind=pgqa");
    d.weight("q.weight", wq, "dim dim");
    d.weight("q.bias", bq, "dim").optional();
    d.weight("k.weight", wk, "GD dim");
    d.weight("k.bias", bk, "GD").optional();
    d.weight("v.weight", wv, "GD dim");
    d.weight("v.bias", bv, "GD").optional();
    d.weight("proj.weight", wo, "dim dim");
    d.weight("proj.bias", bo, "dim").optional();
    d.size("num_kv_heads", "num_heads//2");
    d.size("GD", "num_kv_heads*(dim//num_heads)");
    d.output("out", out, "B N dim");
    d.output("splits", splits, "num_kv_heads", "query heads of each group").of(DType::i64);
    d.output("k_norms", k_norms, "num_kv_heads");
    d.output("cache_new", cache_new, "num_kv_heads").when(cached, "kind=dgqa-*");
  }

  std::vector<std::int64_t> sizes(const std::vector<double>& norms) const {
    if (kind == "pgqa") {
      const auto G = std::int64_t(norms.size());
      if (num_heads % G) fail("parameter num_heads", "a multiple of num_kv_heads, " + std::to_string(G), std::to_string(num_heads));
      return std::vector<std::int64_t>(norms.size(), num_heads / G);
    }
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

  /// Rows of `uniform` with the diagonal put to 0, then of mean 0 and deviation 1.
  static Tensor standardised(const Tensor& uniform) {
    const auto rows = uniform.extent(0), L = uniform.extent(1);
    const Tensor out(DType::f32, {rows, L}), from = uniform.dense();
    for (std::int64_t r = 0; r < rows; ++r) {
      std::vector<double> row(from.data<float>() + r * L, from.data<float>() + (r + 1) * L);
      if (r < L) row[std::size_t(r)] = 0;
      double mean = 0, square = 0;
      for (const double value : row) mean += value / double(L);
      for (const double value : row) square += (value - mean) * (value - mean);
      const double deviation = L > 1 && square > 0 ? std::sqrt(square / double(L - 1)) : 1;
      for (std::int64_t c = 0; c < L; ++c) out.data<float>()[r * L + c] = float((row[std::size_t(c)] - mean) / deviation);
    }
    return out;
  }

  /// heads (B, N, n, D) of one group.
  static Tensor perturbed(const Ops& ops, const Tensor& heads, const Tensor& uniform) {
    const auto B = heads.extent(0), N = heads.extent(1), n = heads.extent(2), D = heads.extent(3), L = N * D;
    if (L < 2) return heads;  // a single element has no deviation
    const Tensor rows = heads.permute({0, 2, 1, 3}).reshape({B, n, L}), mean = ops.mean(rows, {2}, true);
    const Tensor deviation = ops.sqrt(ops.scale(ops.sum(ops.square(ops.sub(rows, mean)), {2}, true), 1 / float(L - 1)));
    const Tensor less = ops.sub(rows, ops.add(ops.mul(standardised(uniform), deviation), mean));
    return less.reshape({B, n, N, D}).permute({0, 2, 1, 3});
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
    if (kind == "pgqa" && !noise.defined()) noise = ops.uniform({num_heads, q.extent(1) * q.extent(3)}, std::int64_t(ops.context().seed));
    std::vector<Tensor> mixed;
    for (std::int64_t g = 0, at = 0; g < G; at += counts[std::size_t(g++)])
      if (const auto n = counts[std::size_t(g)]; n > 0) {
        const Tensor read = ops.attend(q.slice(2, at, n), k.slice(2, g, 1), v.slice(2, g, 1)).out;
        mixed.push_back(kind == "pgqa" ? perturbed(ops, read, noise.slice(0, at, n)) : read);
      }
    out = ops.linear(join_heads(ops.concat(mixed, 2)), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(kdgqa, Kdgqa, "kdgqa", "heads", "op", 2, "Beyond Uniform Query Distribution: Key-Driven Grouped Query Attention")
