// SPDX-License-Identifier: Apache-2.0
// FlexPrefill (Lai et al., 2025): causal prefill over blocks chosen a head, from the exact softmax P of the last rows.
//   vertical = column means of P, slash = diagonal sums / rows; enough blocks of each to cover gamma;
//   where sqrt(JSD(softmax(mean q . block-mean k), vertical)) < tau: the least of both, and pairs of blocks by their means
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "mechanism/heads.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

using Values = std::vector<double>;

std::vector<std::int64_t> descending(const Values& values) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[std::size_t(a)] > values[std::size_t(b)]; });
  return order;
}

/// How many of the largest it takes to exceed `mass`.
std::int64_t cover(const Values& values, double mass) {
  double sum = 0;
  std::int64_t count = 1;
  for (const auto i : descending(values)) {
    sum += values[std::size_t(i)];
    if (!(sum <= mass)) break;
    ++count;
  }
  return count;
}

double root_divergence(const float* p, const Values& q) {
  double sum = 0;
  for (std::size_t i = 0; i < q.size(); ++i) {
    const double m = (double(p[i]) + q[i]) / 2;
    if (p[i] > 0) sum += p[i] * std::log(p[i] / m) / 2;
    if (q[i] > 0) sum += q[i] * std::log(q[i] / m) / 2;
  }
  return std::sqrt(std::max(sum, 0.0));
}

struct Flexprefill : Mechanism, PromptMixer {
  Tensor q, k, v, out, block_mask;
  double gamma = 0.9, tau = 0;
  std::optional<std::int64_t> min_budget, max_budget;
  std::int64_t block_size = 128;

  void describe(Declaration& d) override {
    d.param("gamma", gamma, "mass to cover").least(0);
    d.param("tau", tau, "divergence below which blocks are chosen in pairs; the paper's is 0.1");
    d.param("min_budget", min_budget, "least tokens of columns and of diagonals").least(1).computed("1");
    d.param("max_budget", max_budget, "most tokens of columns and of diagonals").least(1).computed("N");
    d.param("block_size", block_size, "tokens a block").least(1);
    d.input("q", q, "1 N Hq D", "queries");
    d.input("k", k, "1 N Hk D", "keys");
    d.input("v", v, "1 N Hk D", "values");
    d.output("out", out, "1 N Hq D");
    d.output("block_mask", block_mask, "Hq ceil(N/block_size) ceil(N/block_size)", "true where a block is kept").of(DType::boolean);
  }

  Tensor read_prompt(const Tensor& queries, const Tensor& keys, const Tensor& values, DType, Ops& ops) override {
    q = queries, k = keys, v = values;
    run(ops);
    return out;
  }

  /// (1, N, H, D) -> (H, nb, D), a short last block over its own tokens.
  Tensor means(const Ops& ops, const Tensor& x, std::int64_t nb) const {
    const auto N = x.extent(1), H = x.extent(2), D = x.extent(3), whole = N / block_size;
    std::vector<Tensor> parts;
    if (whole) parts.push_back(ops.mean(x.slice(1, 0, whole * block_size).reshape({whole, block_size, H, D}), {1}));
    if (whole < nb) parts.push_back(ops.mean(x.slice(1, whole * block_size, N - whole * block_size), {1}));
    return ops.concat(parts, 0).permute({1, 0, 2});
  }

  void run(Ops& ops) override {
    const auto N = q.extent(1), H = q.extent(2), nb = (N + block_size - 1) / block_size, rows = std::min(block_size, N);
    const auto in_blocks = [&](std::int64_t tokens) { return std::min(nb, (tokens + block_size - 1) / block_size); };
    const auto least = in_blocks(min_budget.value_or(1)), most = in_blocks(max_budget.value_or(N));
    AttendOptions o;
    o.causal = true;
    block_mask = Tensor::zeros(DType::boolean, {H, nb, nb});
    if (N == 0 || H == 0) {
      out = ops.attend(q, k, v, o).out;
      return;
    }
    const Tensor queries = ops.no_gradient(q, "chosen blocks"), keys = ops.no_gradient(k, "chosen blocks");
    const Tensor last = queries.slice(1, N - rows, rows);
    const Tensor exact = ops.attend(last, keys, keys, o, want_weights).weights;

    const float scale = 1 / std::sqrt(float(q.extent(3)));
    const Tensor pooled = ops.repeat(means(ops, keys, nb), 0, H / k.extent(2)).permute({0, 2, 1});
    const Tensor mean_q = ops.mean(last, {1}).reshape({H, 1, q.extent(3)});
    const Tensor guess = ops.softmax(ops.scale(ops.matmul(mean_q, pooled), scale), -1).dense();
    Tensor pair_scores;
    if (tau > 0) pair_scores = ops.scale(ops.matmul(means(ops, queries, nb), pooled), scale).dense();

    for (std::int64_t h = 0; h < H; ++h) {
      auto* keep = block_mask.data<std::uint8_t>() + h * nb * nb;
      Values vertical(std::size_t(N), 0.0), slash(std::size_t(N), 0.0);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* row = exact.data<float>() + (h * rows + r) * N;
        for (std::int64_t j = 0; j <= N - rows + r; ++j) {
          vertical[std::size_t(j)] += row[j] / double(rows);
          slash[std::size_t(j + rows - 1 - r)] += row[j] / double(rows);
        }
      }
      const auto blocks = [&](const Values& tokens) {
        Values sums(std::size_t(nb), 0.0);
        for (std::size_t j = 0; j < tokens.size(); ++j) sums[j / std::size_t(block_size)] += tokens[j];
        return sums;
      };
      const auto budget = [&](const Values& tokens) {
        return std::min(std::max(cover(tokens, gamma) / 128 + 1, least), most);
      };  // most has the last word
      auto columns = budget(vertical), diagonals = budget(slash);
      Values by_column = blocks(vertical), by_diagonal = blocks(slash);
      if (root_divergence(guess.data<float>() + h * nb, by_column) < tau) {
        columns = diagonals = least;
        keep_pairs(pair_scores.data<float>() + h * nb * nb, nb, keep);
      }
      by_column.front() = by_diagonal.back() = std::numeric_limits<double>::infinity();
      const auto best_columns = descending(by_column), best_diagonals = descending(by_diagonal);
      for (std::int64_t n = 0; n < columns; ++n)
        for (auto c = best_columns[std::size_t(n)], r = c; r < nb; ++r) keep[r * nb + c] = 1;
      for (std::int64_t n = 0; n < diagonals; ++n)
        for (auto r = nb - 1 - best_diagonals[std::size_t(n)], c = std::int64_t{0}; r < nb; ++r, ++c) keep[r * nb + c] = 1;
    }
    const Tensor kept = block_mask.reshape({1, H, nb, nb});
    o.blocks = BlockMask{kept, block_size, block_size};
    out = ops.attend(q, k, v, o).out;
  }

  /// The largest entries of the row-wise causal softmax of `scores` while their sum is at most gamma * nb.
  void keep_pairs(const float* scores, std::int64_t nb, std::uint8_t* keep) const {
    Values weights(std::size_t(nb * nb), 0.0);
    for (std::int64_t r = 0; r < nb; ++r) {
      const float* row = scores + r * nb;
      const double top = *std::max_element(row, row + r + 1);
      double total = 0;
      for (std::int64_t c = 0; c <= r; ++c) total += std::exp(row[c] - top);
      for (std::int64_t c = 0; c <= r; ++c) weights[std::size_t(r * nb + c)] = std::exp(row[c] - top) / total;
    }
    double sum = 0;
    for (const auto i : descending(weights)) {
      sum += weights[std::size_t(i)];
      if (sum > gamma * double(nb)) break;
      if (i % nb <= i / nb) keep[i] = 1;
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(flexprefill, Flexprefill, "flexprefill", "sparse", "algorithm", 2,
               "FlexPrefill: A Context-Aware Sparse Attention Mechanism for Efficient Long-Sequence Inference")
