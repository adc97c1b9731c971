// SPDX-License-Identifier: Apache-2.0
// Random problems for the lists engine and its ops.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "heed/lists.h"

namespace heed::lists_test {

inline constexpr double inf = std::numeric_limits<double>::infinity();
using Doubles = std::vector<double>;

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::int64_t whole(std::int64_t low, std::int64_t high) { return std::uniform_int_distribution<std::int64_t>(low, high)(engine_); }
  bool chance(int percent) { return whole(1, 100) <= percent; }
  /// Normal numbers; now and then with gaps between the elements of a row, or with the first two axes exchanged.
  Tensor floats(const Shape& shape, DType dtype = DType::f32) {
    auto extents = shape.vector();
    const bool swap = chance(20), gaps = chance(20);
    if (swap) std::swap(extents[0], extents[1]);
    if (gaps) extents.back() *= 2;
    Tensor t(DType::f32, Shape(extents));
    for (std::int64_t i = 0; i < t.count(); ++i) t.data<float>()[i] = normal_(engine_);
    t = t.to(dtype);
    if (gaps) {
      View view = t;
      const int last = view.rank() - 1;
      auto less = extents;
      less.back() /= 2;
      view.shape = Shape(less);
      view.strides[std::size_t(last)] *= 2;
      t = Tensor(view, std::make_shared<Tensor>(t));
    }
    return swap ? t.transpose(0, 1) : t;
  }
  std::mt19937& engine() { return engine_; }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

inline Doubles values(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor dense = t.to(DType::f32);
  return {dense.data<float>(), dense.data<float>() + dense.count()};
}

inline Tensor integers(const std::vector<std::int64_t>& list) {
  Tensor t(DType::i64, {std::int64_t(list.size())});
  if (!list.empty()) std::memcpy(t.data<void>(), list.data(), list.size() * sizeof(std::int64_t));
  return t;
}

enum Input { q_, k_, v_, source_, target_, att_, bias_, features_, inputs_count };

struct Problem {
  std::int64_t N, M, H, G, D, W, rows;
  Lists lists;
  ListOptions options;
  Tensor inputs[inputs_count];
  bool per_head;

  std::int64_t L() const { return per_head ? 1 : H; }
  ListInputs views() const {
    ListInputs in;
    std::optional<View>* to[] = {&in.q, &in.k, &in.v, &in.source, &in.target, &in.att, &in.bias, &in.features};
    for (int i = 0; i < inputs_count; ++i)
      if (inputs[i].defined()) *to[i] = inputs[i].view();
    return in;
  }
};

inline Problem problem(Random& r, DType dtype = DType::f32, std::int64_t most = 9) {
  Problem p;
  p.N = r.whole(0, 6), p.M = r.whole(1, 7), p.G = r.whole(1, 3), p.H = p.G * r.whole(1, 3), p.D = r.whole(1, 40), p.W = r.whole(1, 140);
  p.per_head = r.chance(40) && p.H > 1;
  const std::int64_t heads = p.per_head ? p.H : 1;
  std::vector<std::int64_t> offsets, index, edge;
  for (std::int64_t h = 0; h < heads; ++h) {
    offsets.push_back(std::int64_t(index.size()));
    for (std::int64_t i = 0; i < p.N; ++i) {
      for (std::int64_t n = r.chance(20) ? 0 : r.whole(0, most); n > 0; --n) index.push_back(r.whole(0, p.M - 1));
      offsets.push_back(std::int64_t(index.size()));
    }
  }
  p.rows = std::int64_t(index.size());
  const bool named = r.chance(50);
  if (named) {
    p.rows += r.whole(0, 4);
    for (std::int64_t e = 0; e < p.rows; ++e) edge.push_back(e);
    std::shuffle(edge.begin(), edge.end(), r.engine());
    edge.resize(index.size());
  }
  p.lists.offsets = integers(offsets);
  if (p.per_head) p.lists.offsets = p.lists.offsets.reshape({p.H, p.N + 1});
  p.lists.index = integers(index);
  if (named) p.lists.edge = integers(edge), p.lists.rows = p.rows;

  p.options.score = ListScore(r.whole(0, 3));
  p.options.softmax = r.chance(70);
  if (r.chance(50)) p.options.scale = 0.3f;
  p.options.negative_slope = r.chance(50) ? 0.2f : 1.5f;
  const ListScore s = p.options.score;
  if (s == ListScore::dot || s == ListScore::leaky) {
    p.inputs[q_] = r.floats({p.N, p.H, p.D}, dtype);
    p.inputs[k_] = r.floats({p.M, p.G, p.D}, dtype);
    if (r.chance(50)) p.inputs[features_] = r.floats({p.rows, p.L(), p.D});
  }
  if (s == ListScore::leaky) p.inputs[att_] = r.floats({p.H, p.D});
  if (s == ListScore::additive) p.inputs[source_] = r.floats({p.M, p.H}), p.inputs[target_] = r.floats({p.N, p.H});
  if (s == ListScore::edge || r.chance(50)) p.inputs[bias_] = r.floats({p.rows, p.L()});
  p.inputs[v_] = r.floats({p.M, p.G, p.W}, dtype);
  return p;
}

inline void expect_near(const Tensor& got, const Doubles& want, double tolerance, const std::string& what) {
  const Doubles x = values(got);
  ASSERT_EQ(x.size(), want.size()) << what;
  double size = 1;
  for (const double w : want)
    if (std::isfinite(w)) size = std::max(size, std::abs(w));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] == want[i]) continue;
    ASSERT_NEAR(x[i], want[i], tolerance * size) << what << " at " << i;
  }
}

}  // namespace heed::lists_test
