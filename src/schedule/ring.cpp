// SPDX-License-Identifier: Apache-2.0
#include "schedule/ring.h"

#include <algorithm>
#include <limits>

namespace heed::schedule {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

std::int64_t elements(const Block& block) {
  std::int64_t count = 0;
  for (const Tensor& tensor : block) count += tensor.defined() ? tensor.count() : 0;
  return count;
}

}  // namespace

std::vector<std::int64_t> LocalRing::here() const {
  std::vector<std::int64_t> all;
  for (std::int64_t r = 0; r < ranks_; ++r) all.push_back(r);
  return all;
}

std::vector<Block> LocalRing::wait() {
  std::rotate(passed_.begin(), passed_.end() - 1, passed_.end());
  return std::move(passed_);
}

Span span_of(std::int64_t rank, std::int64_t ranks, std::int64_t tokens) {
  const std::int64_t each = (tokens + ranks - 1) / ranks, begin = std::min(tokens, rank * each);
  return {begin, std::min(each, tokens - begin)};
}

std::int64_t resident_of(std::int64_t rank, std::int64_t step, std::int64_t ranks) { return ((rank - step) % ranks + ranks) % ranks; }

std::vector<Shape> shapes_with(const Block& mine, std::int64_t keys) {
  std::vector<Shape> shapes;
  for (std::size_t i = 0; i < mine.size(); ++i) {
    auto extents = mine[i].shape().vector();
    // Keys and values (and their gradients) come in pairs; a bias, alone behind them, has its keys last.
    const bool bias = i >= 2 && i % 2 == 0 && extents.size() == 4 && (i + 1 == mine.size() || mine[i + 1].rank() != 4);
    extents[bias ? 3 : 1] = keys;
    shapes.push_back(Shape(extents));
  }
  return shapes;
}

Tensor visible_pairs(Span q, Span k, std::int64_t c, const Tensor& query_segments, const Tensor& key_segments) {
  const bool whole = c == 0 || q.count == 0 || k.count == 0 || q.begin / c >= (k.begin + k.count - 1) / c;
  if (whole && !query_segments.defined()) return {};
  const std::int64_t B = query_segments.defined() ? query_segments.extent(0) : 1;
  Tensor mask(DType::boolean, {B, 1, q.count, k.count});
  auto* to = mask.data<std::uint8_t>();
  const Tensor mine = query_segments.defined() ? query_segments.dense() : Tensor(),
               theirs = mine.defined() ? key_segments.dense() : Tensor();
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t m = 0; m < q.count; ++m)
      for (std::int64_t n = 0; n < k.count; ++n) {
        const bool causal = c == 0 || (q.begin + m) / c >= (k.begin + n) / c;
        *to++ = causal && (!mine.defined() || mine.data<std::int64_t>()[b * q.count + m] == theirs.data<std::int64_t>()[b * k.count + n]);
      }
  return mask;
}

std::vector<RankResult> ring_attention(const Ops& ops, Ring& ring, const std::vector<RankTensors>& local, std::int64_t tokens,
                                       std::int64_t causal_block) {
  const auto here = ring.here();
  const std::int64_t P = ring.ranks(), c = causal_block, n = (tokens + P - 1) / P;
  std::vector<Block> blocks;
  for (const RankTensors& t : local) {
    Block block{t.k, t.v};
    for (const Tensor& extra : {t.bias, t.segments})
      if (extra.defined()) block.push_back(extra);
    blocks.push_back(std::move(block));
  }
  std::vector<RankResult> results(here.size());
  for (std::int64_t step = 0; step < P; ++step) {
    std::vector<std::vector<Shape>> shapes;
    if (step + 1 < P) {
      for (std::size_t i = 0; i < here.size(); ++i) {
        results[i].values_sent += elements({blocks[i][0], blocks[i][1]});
        shapes.push_back(shapes_with(blocks[i], span_of(resident_of(here[i], step + 1, P), P, tokens).count));
      }
      ring.pass(blocks, shapes);
    }
    for (std::size_t i = 0; i < here.size(); ++i) {
      const RankTensors& own = local[i];
      const std::int64_t resident = resident_of(here[i], step, P);
      const Span q = span_of(here[i], P, tokens), k = span_of(resident, P, tokens);
      const bool seen = c == 0 || (here[i] * n + n - 1) / c >= resident * n / c;  // of blocks without tokens as well
      results[i].resident.push_back(resident);
      results[i].computed.push_back(seen);
      if (!seen && results[i].sum.out.defined()) continue;
      AttendOptions o;
      const Tensor mask = visible_pairs(q, k, c, own.segments, own.segments.defined() ? blocks[i].back() : Tensor());
      if (mask.defined()) o.mask = mask.view();
      ScoreTerms terms;
      if (own.bias.defined()) terms.bias = blocks[i][2];
      const Attended part = ops.attend(own.q, blocks[i][0], blocks[i][1], o, want_lse, terms);
      results[i].sum = results[i].sum.out.defined() ? ops.merge(results[i].sum, part) : part;
    }
    if (step + 1 < P) blocks = ring.wait();
  }
  return results;
}

std::vector<TwoPassResult> ring_self_attention(const Ops& ops, Ring& ring, const std::vector<RankTensors>& local,
                                               const std::vector<Tensor>& masks, std::int64_t tokens, float scale) {
  const auto here = ring.here();
  const std::int64_t P = ring.ranks();
  std::vector<TwoPassResult> results(here.size());
  /// visit(local rank, owner, block) for every block that comes by, the own one first.
  const auto circulate = [&](std::vector<Block> blocks, auto&& visit) {
    for (std::int64_t step = 0; step < P; ++step) {
      std::vector<std::vector<Shape>> shapes;
      if (step + 1 < P) {
        for (std::size_t i = 0; i < here.size(); ++i) {
          results[i].values_sent += elements(blocks[i]);
          shapes.push_back(shapes_with(blocks[i], span_of(resident_of(here[i], step + 1, P), P, tokens).count));
        }
        ring.pass(blocks, shapes);
      }
      for (std::size_t i = 0; i < here.size(); ++i) visit(i, resident_of(here[i], step, P), blocks[i][0]);
      if (step + 1 < P) blocks = ring.wait();
    }
  };
  std::vector<Block> keys, values;
  for (const RankTensors& t : local) keys.push_back({t.k}), values.push_back({t.v});
  std::vector<std::vector<Tensor>> scores(here.size(), std::vector<Tensor>(std::size_t(P)));
  circulate(keys, [&](std::size_t i, std::int64_t owner, const Tensor& k) {
    scores[i][std::size_t(owner)] = ops.scale(ops.matmul(local[i].q.permute({0, 2, 1, 3}), k.permute({0, 2, 3, 1})), scale);
  });
  for (std::size_t i = 0; i < here.size(); ++i) {
    Tensor rows = ops.concat(scores[i], 3);
    if (masks[i].defined()) rows = ops.where(masks[i], rows, ops.full({}, -infinity));
    results[i].weights = ops.softmax(rows, 3);
  }
  circulate(values, [&](std::size_t i, std::int64_t owner, const Tensor& v) {
    const Span span = span_of(owner, P, tokens);
    const Tensor part = ops.matmul(results[i].weights.slice(3, span.begin, span.count), v.permute({0, 2, 1, 3})).permute({0, 2, 1, 3});
    results[i].out = results[i].out.defined() ? ops.add(results[i].out, part) : part;
  });
  return results;
}

}  // namespace heed::schedule
