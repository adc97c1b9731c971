// SPDX-License-Identifier: Apache-2.0
// attend_lists() and its gradients against loops in double and central differences, over random lists, strides and options.
#include "heed/lists.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "heed/attend.h"
#include "heed/ops.h"

namespace heed {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
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

Doubles values(const Tensor& t) {
  if (!t.defined()) return {};
  const Tensor dense = t.to(DType::f32);
  return {dense.data<float>(), dense.data<float>() + dense.count()};
}

Tensor integers(const std::vector<std::int64_t>& list) {
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

Problem problem(Random& r, DType dtype = DType::f32, std::int64_t most = 9) {
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

struct Result {
  Doubles out, lse, weights;
};

Result reference(const Problem& p, const Doubles* in) {
  Result r{Doubles(std::size_t(p.N * p.H * p.W)), Doubles(std::size_t(p.N * p.H), -inf), Doubles(std::size_t(p.rows * p.L()))};
  const auto* offsets = p.lists.offsets.data<std::int64_t>();
  const auto at = [&](Input i, std::int64_t n) { return in[i][std::size_t(n)]; };
  const auto leaky = [&](double x) { return x < 0 ? x * double(p.options.negative_slope) : x; };
  const double scale = p.options.scale ? double(*p.options.scale) : 1 / std::sqrt(double(p.D));
  for (std::int64_t i = 0; i < p.N; ++i)
    for (std::int64_t h = 0; h < p.H; ++h) {
      const auto* range = offsets + (p.per_head ? h * (p.N + 1) : 0) + i;
      const std::int64_t g = h / (p.H / p.G), L = p.L(), column = p.per_head ? 0 : h;
      Doubles scores;
      std::vector<std::int64_t> keys, slots;
      for (std::int64_t e = range[0]; e < range[1]; ++e) {
        const std::int64_t j = p.lists.index.data<std::int64_t>()[e],
                           row = p.lists.edge.defined() ? p.lists.edge.data<std::int64_t>()[e] : e;
        const double bias = in[bias_].empty() ? 0 : at(bias_, row * L + column);
        double s = 0;
        switch (p.options.score) {
          case ListScore::edge:
            s = bias;
            break;
          case ListScore::additive:
            s = leaky(at(source_, j * p.H + h) + at(target_, i * p.H + h) + bias);
            break;
          default:
            for (std::int64_t d = 0; d < p.D; ++d) {
              const double q = at(q_, (i * p.H + h) * p.D + d), f = in[features_].empty() ? 0 : at(features_, (row * L + column) * p.D + d);
              const double k = at(k_, (j * p.G + g) * p.D + d) + f;
              s += p.options.score == ListScore::dot ? scale * q * k : at(att_, h * p.D + d) * leaky(q + k);
            }
            s += bias;
        }
        scores.push_back(s), keys.push_back(j), slots.push_back(row * L + column);
      }
      double top = -inf, sum = 0;
      for (const double s : scores) top = std::max(top, s);
      if (p.options.softmax && top > -inf) {
        for (double& s : scores) sum += s = std::exp(s - top);
        for (double& s : scores) s /= sum;
        r.lse[std::size_t(i * p.H + h)] = top + std::log(sum);
      } else if (p.options.softmax) {
        std::fill(scores.begin(), scores.end(), 0.0);
      }
      for (std::size_t e = 0; e < scores.size(); ++e) {
        r.weights[std::size_t(slots[e])] = scores[e];
        for (std::int64_t d = 0; d < p.W && scores[e] != 0; ++d)
          r.out[std::size_t((i * p.H + h) * p.W + d)] += scores[e] * at(v_, (keys[e] * p.G + g) * p.W + d);
      }
    }
  return r;
}

void expect_near(const Tensor& got, const Doubles& want, double tolerance, const std::string& what) {
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

struct Outputs {
  Tensor out, lse, weights;
  explicit Outputs(const Problem& p, DType dtype = DType::f32) : out(dtype, {p.N, p.H, p.W}) {
    if (p.options.softmax) lse = Tensor(DType::f32, {p.N, p.H});
    weights = Tensor(DType::f32, {p.rows, p.L()});
  }
  ListOutputs views() const {
    ListOutputs o{out.view(), {}, weights.view()};
    if (lse.defined()) o.lse = lse.view();
    return o;
  }
};

std::vector<Isa> sets() {
  std::vector<Isa> list{Isa::avx2};
  if (runs_here(Isa::avx512)) list.push_back(Isa::avx512);
  return list;
}

TEST(Lists, EqualsDouble) {
  Random r(1);
  for (int round = 0; round < 300; ++round) {
    const DType dtype = DType(r.whole(0, 2));
    const Problem p = problem(r, dtype, round % 10 ? 9 : 60);
    Doubles in[inputs_count];
    for (int i = 0; i < inputs_count; ++i) in[i] = values(p.inputs[i]);
    const Result want = reference(p, in);
    for (const Isa isa : sets()) {
      const Outputs got(p), narrow(p, dtype);
      Context context;
      context.isa = isa;
      context.threads = int(r.whole(1, 3));
      attend_lists(p.views(), p.lists, got.views(), p.options, context);
      expect_near(got.out, want.out, 2e-6, "out");
      if (p.options.softmax) expect_near(got.lse, want.lse, 2e-6, "lse");
      expect_near(got.weights, want.weights, 2e-6, "weights");
      attend_lists(p.views(), p.lists, {narrow.out.view(), {}, {}}, p.options, context);
      expect_near(narrow.out, want.out, dtype == DType::f32 ? 2e-6 : 1.0 / 256, "out in the inputs' dtype");
      if (HasFailure()) return;
    }
  }
}

TEST(Lists, GradientsEqualDifferences) {
  Random r(2);
  for (int round = 0; round < 120; ++round) {
    const Problem p = problem(r, DType(r.whole(0, 2)), 5);
    Doubles in[inputs_count];
    for (int i = 0; i < inputs_count; ++i) in[i] = values(p.inputs[i]);
    Tensor d_out = r.floats({p.N, p.H, p.W}, DType(r.whole(0, 2))), d_lse, d_weights;
    if (p.options.softmax && r.chance(50)) d_lse = r.floats({p.N, p.H});
    if (r.chance(50)) d_weights = r.floats({p.rows, p.L()});
    if (d_weights.defined() && r.chance(20)) d_out = Tensor();
    const Doubles by_out = values(d_out), by_lse = values(d_lse), by_weights = values(d_weights);
    const auto loss = [&] {
      const Result y = reference(p, in);
      double sum = 0;
      for (std::size_t i = 0; i < by_out.size(); ++i) sum += y.out[i] * by_out[i];
      for (std::size_t i = 0; i < by_lse.size(); ++i) sum += y.lse[i] == -inf ? 0 : y.lse[i] * by_lse[i];
      for (std::size_t i = 0; i < by_weights.size(); ++i) sum += y.weights[i] * by_weights[i];
      return sum;
    };
    Doubles want[inputs_count];
    for (int i = 0; i < inputs_count; ++i)
      for (double& x : in[i]) {
        const double kept = x, step = 1e-5;
        x = kept + step;
        const double up = loss();
        x = kept - step;
        want[i].push_back((up - loss()) / (2 * step));
        x = kept;
      }
    ListOutputs cotangents;
    if (d_out.defined()) cotangents.out = d_out.view();
    if (d_lse.defined()) cotangents.lse = d_lse.view();
    if (d_weights.defined()) cotangents.weights = d_weights.view();
    const Lists transposed = transpose(p.lists, p.M);
    for (const Isa isa : sets())
      for (const int threads : {1, 3}) {
        Tensor got[inputs_count];
        ListInputs gradients;
        std::optional<View>* to[] = {&gradients.q,      &gradients.k,   &gradients.v,    &gradients.source,
                                     &gradients.target, &gradients.att, &gradients.bias, &gradients.features};
        for (int i = 0; i < inputs_count; ++i)
          if (p.inputs[i].defined() && r.chance(85)) *to[i] = (got[i] = Tensor(DType::f32, p.inputs[i].shape())).view();
        Context context;
        context.isa = isa;
        context.threads = threads;
        attend_lists_backward(p.views(), p.lists, cotangents, gradients, p.options, context, threads == 1 ? &transposed : nullptr);
        for (int i = 0; i < inputs_count; ++i)
          if (got[i].defined())
            expect_near(got[i], want[i], 2e-5,
                        "gradient of input " + std::to_string(i) + ", score " + std::to_string(int(p.options.score)));
        if (HasFailure()) return;
      }
  }
}

/// Many lists, some long: more tasks than threads.
TEST(Lists, SameBitsForAnyThreads) {
  Random r(3);
  const std::int64_t N = 3000, H = 4, D = 8, W = 20;
  Problem p{N, N, H, 2, D, W, 0, {}, {}, {}, false};
  std::vector<std::int64_t> offsets{0}, index;
  for (std::int64_t i = 0; i < N; ++i) {
    for (std::int64_t n = i == 7 ? 5000 : r.whole(0, 12); n > 0; --n) index.push_back(r.whole(0, N - 1));
    offsets.push_back(std::int64_t(index.size()));
  }
  p.rows = std::int64_t(index.size());
  p.lists = {integers(offsets), integers(index), {}, -1};
  p.options.score = ListScore::leaky;
  p.inputs[q_] = r.floats({N, H, D}), p.inputs[k_] = r.floats({N, 2, D}), p.inputs[v_] = r.floats({N, 2, W});
  p.inputs[att_] = r.floats({H, D}), p.inputs[features_] = r.floats({p.rows, H, D});
  const Tensor d_out = r.floats({N, H, W});
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 5}) {
    Context context;
    context.threads = threads;
    const Outputs y(p);
    attend_lists(p.views(), p.lists, y.views(), p.options, context);
    std::vector<Tensor> all{y.out, y.lse, y.weights};
    for (const Input i : {q_, k_, v_, att_, features_}) all.push_back(Tensor(DType::f32, p.inputs[i].shape()));
    ListInputs g;
    g.q = all[3], g.k = all[4], g.v = all[5], g.att = all[6], g.features = all[7];
    attend_lists_backward(p.views(), p.lists, {d_out.view(), {}, {}}, g, p.options, context);
    if (first.empty()) first = all;
    for (std::size_t i = 0; i < all.size(); ++i)
      ASSERT_EQ(0, std::memcmp(first[i].data<void>(), all[i].data<void>(), std::size_t(all[i].count()) * 4))
          << "tensor " << i << ", " << threads << " threads";
  }
}

TEST(Lists, MergesWithTiles) {
  Random r(4);
  const std::int64_t N = 5, M = 12, H = 4, D = 16, near = 7;
  const Tensor q = r.floats({N, H, D}), k = r.floats({M, 2, D}), v = r.floats({M, 2, D});
  const auto four = [](const Tensor& x) { return x.reshape({1, x.extent(0), x.extent(1), x.extent(2)}); };
  const Tensor whole(DType::f32, {1, N, H, D}), part(DType::f32, {1, N, H, D}), lse(DType::f32, {1, H, N});
  attend(four(q), four(k), four(v), whole);
  AttendExtras extras;
  extras.lse = lse.view();
  attend(four(q), four(k.slice(0, 0, near)), four(v.slice(0, 0, near)), part, {}, extras);
  Tensor table(DType::i64, {1, N, M - near});
  for (std::int64_t i = 0; i < table.count(); ++i) table.data<std::int64_t>()[i] = near + i % (M - near);
  const Tensor rest(DType::f32, {N, H, D}), rest_lse(DType::f32, {N, H});
  ListInputs in;
  in.q = q, in.k = k, in.v = v;
  attend_lists(in, lists_of_table(table, M), {rest.view(), rest_lse.view(), {}});
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t h = 0; h < H; ++h) {
      const double a = lse.data<float>()[h * N + i], b = rest_lse.data<float>()[i * H + h], top = std::max(a, b);
      const double x = std::exp(a - top), y = std::exp(b - top);
      for (std::int64_t d = 0; d < D; ++d) {
        const std::int64_t at = (i * H + h) * D + d;
        EXPECT_NEAR((part.data<float>()[at] * x + rest.data<float>()[at] * y) / (x + y), whole.data<float>()[at], 1e-6);
      }
    }
}

TEST(Lists, SafeWithLargeAndMaskedScores) {
  const Tensor v = Tensor::of({1, 2, std::nanf(""), 4}, {4, 1, 1});
  const float minus = -std::numeric_limits<float>::infinity();
  const Tensor bias = Tensor::of({3e4f, 2.9e4f, minus, 1, minus, 5}, {6, 1});
  const Lists lists{integers({0, 3, 4, 5, 5, 6}), integers({0, 1, 2, 3, 2, 1}), {}, -1};
  ListInputs in;
  in.v = v, in.bias = bias;
  ListOptions options;
  options.score = ListScore::edge;
  const Tensor out(DType::f32, {5, 1, 1}), lse(DType::f32, {5, 1});
  attend_lists(in, lists, {out.view(), lse.view(), {}}, options);
  const std::vector<float> want{1, 4, 0, 0, 2}, want_lse{3e4f, 1, minus, minus, 5};
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(out.data<float>()[i], want[i]) << i;
    EXPECT_EQ(lse.data<float>()[i], want_lse[i]) << i;
  }
  const Tensor d_out = Tensor::of({1, 1, 1, 1, 1}, {5, 1, 1}), d_bias(DType::f32, {6, 1}), d_v(DType::f32, {4, 1, 1});
  ListInputs g;
  g.bias = d_bias, g.v = d_v;
  attend_lists_backward(in, lists, {d_out.view(), {}, {}}, g, options);
  for (std::size_t e = 0; e < 6; ++e) EXPECT_EQ(d_bias.data<float>()[e], 0) << e;
  const std::vector<float> want_v{1, 1, 0, 1};
  for (std::size_t j = 0; j < 4; ++j) EXPECT_EQ(d_v.data<float>()[j], want_v[j]) << j;
}

TEST(Lists, OfEdgesAndTables) {
  const Lists edges = lists_of_edges(integers({4, 0, 2, 0, 1, 2, 0, 1}).reshape({2, 4}), 4);
  const auto same = [](const Tensor& got, const std::vector<std::int64_t>& want) {
    ASSERT_EQ(got.count(), std::int64_t(want.size()));
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got.data<std::int64_t>()[i], want[i]) << i;
  };
  same(edges.offsets, {0, 1, 3, 4, 4});
  same(edges.index, {2, 4, 0, 0}), same(edges.edge, {2, 0, 3, 1});
  const Lists table = lists_of_table(integers({1, -1, 0, 2, -1, -1, 2, 2}).reshape({2, 2, 2}), 3);
  same(table.offsets, {0, 1, 3, 3, 5});
  same(table.index, {1, 0, 2, 5, 5}), same(table.edge, {0, 2, 3, 6, 7});
  EXPECT_EQ(table.rows, 8);
  const Lists heads = lists_of_table(integers({1, -1, 0, 2}).reshape({1, 2, 2, 1}), 3);
  same(heads.offsets, {0, 1, 1, 1, 2, 3});
  const Lists back = transpose(edges, 5);
  same(back.offsets, {0, 2, 2, 3, 3, 4}), same(back.index, {1, 2, 0, 1}), same(back.edge, {3, 1, 2, 0});
}

TEST(Lists, RefusesWhatDoesNotFit) {
  Random r(5);
  const Tensor q = r.floats({2, 4, 3}), k = r.floats({3, 2, 3}), v = r.floats({3, 2, 5}), out(DType::f32, {2, 4, 5});
  ListInputs in;
  in.q = q, in.k = k, in.v = v;
  const auto message = [&](const ListInputs& inputs, const Lists& lists, const View& to, const ListOptions& options = {}) -> std::string {
    try {
      attend_lists(inputs, lists, {to, {}, {}}, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  const Lists good{integers({0, 1, 3}), integers({2, 0, 0}), {}, -1};
  EXPECT_EQ(message(in, good, out), "");
  EXPECT_EQ(message(in, {good.offsets, integers({2, 3, 0}), {}, -1}, out), "index: expected 0 to 2, got 3 at entry 1");
  EXPECT_EQ(message(in, {good.offsets, integers({2, 0, -1}), {}, -1}, out), "index: expected 0 to 2, got -1 at entry 2");
  EXPECT_EQ(message(in, {integers({0, 2, 1}), good.index, {}, -1}, out), "offsets: expected 2 or more at 2, got 1");
  EXPECT_EQ(message(in, {integers({1, 2, 3}), good.index, {}, -1}, out), "offsets: expected 0 at the first list of head 0, got 1");
  EXPECT_EQ(message(in, {integers({0, 1, 2}), good.index, {}, -1}, out), "offsets: expected to end at the 3 entries of index, got 2");
  EXPECT_EQ(message(in, {good.offsets, good.index, integers({0, 1, 1}), -1}, out), "edge: expected each row once, got 1 again at entry 2");
  EXPECT_EQ(message(in, {good.offsets, good.index, integers({0, 1, 3}), -1}, out), "edge: expected 0 to 2, got 3 at entry 2");
  EXPECT_EQ(message(in, good, v), "out: expected [2, 4, 5], got [3, 2, 5]");
  ListInputs odd = in;
  odd.k = r.floats({3, 3, 3});
  EXPECT_EQ(message(odd, good, out), "k: expected heads that divide 4, got 3");
  ListOptions additive;
  additive.score = ListScore::additive;
  EXPECT_EQ(message(in, good, out, additive), "q: expected none with this score, got [2, 4, 3]");
  EXPECT_THROW(lists_of_edges(integers({0, 0, 0, 4}).reshape({2, 2}), 4), Error);
  EXPECT_THROW(lists_of_table(integers({0, 3, -2, 1}).reshape({1, 2, 2}), 3), Error);
}

/// The fused op and its plain form: values, and gradients through the tape.
TEST(ListOps, FusedEqualsPlain) {
  Random r(6);
  const Context context;
  const Ops ops(context);
  for (int round = 0; round < 150; ++round) {
    const Problem p = problem(r);
    if (p.N == 0) continue;
    const unsigned extras = (p.options.softmax && r.chance(50) ? want_lse : 0u) | (r.chance(50) ? want_weights : 0u);
    std::vector<Tensor> of;
    ListTensors tensors;
    Tensor* to[] = {&tensors.q, &tensors.k, &tensors.v, &tensors.source, &tensors.target, &tensors.att, &tensors.bias, &tensors.features};
    for (int i = 0; i < inputs_count; ++i)
      if (p.inputs[i].defined()) of.push_back(*to[i] = leaf(p.inputs[i]));
    const Attended fused = ops.attend_lists(tensors, p.lists, p.options, extras),
                   plain = ops.attend_lists_plain(tensors, p.lists, p.options, extras);
    std::vector<Tensor> left, right, cotangents;
    for (const auto& [a, b] : {std::pair{fused.out, plain.out}, {fused.lse, plain.lse}, {fused.weights, plain.weights}}) {
      if (!a.defined()) continue;
      expect_near(ops.no_gradient(a, "a test"), values(ops.no_gradient(b, "a test")), 1e-5, "value");
      left.push_back(a), right.push_back(b), cotangents.push_back(r.floats(a.shape()));
    }
    const auto got = gradients(Ops(context, false), left, cotangents, of), want = gradients(Ops(context, false), right, cotangents, of);
    for (std::size_t i = 0; i < of.size(); ++i) expect_near(got[i], values(want[i]), 1e-4, "gradient " + std::to_string(i));
    if (HasFailure()) return;
  }
  const Problem p = problem(r);
  ListTensors tensors{leaf(Tensor::of({1, 2}, {1, 1, 2})), Tensor::of({3, 4}, {1, 1, 2}), Tensor::of({1}, {1, 1, 1})};
  const Lists lists{integers({0, 1}), integers({0}), {}, -1};
  const auto twice = [&] {
    ops.gradient(
        [&](const Ops& o, const std::vector<Tensor>& x) {
          ListTensors here = tensors;
          here.v = x[0];
          return o.sum(o.attend_lists(here, lists).out, {0, 1, 2});
        },
        {leaf(tensors.v)});
  };
  EXPECT_THROW(twice(), Error);
}

TEST(ListOps, SegmentsEqualLoops) {
  Random r(7);
  const Context context;
  const Ops ops(context);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t E = r.whole(0, 40), segments = r.whole(1, 6), inner = r.whole(1, 5);
    const Tensor x = leaf(r.floats({E, inner})), d = r.floats({segments, inner}), d_edges = r.floats({E, inner});
    std::vector<std::int64_t> ids;
    for (std::int64_t e = 0; e < E; ++e) ids.push_back(r.whole(0, segments - 1));
    const Tensor segment = integers(ids);
    const Doubles in = values(ops.no_gradient(x, "a test")), by = values(d), by_edges = values(d_edges);
    const auto at = [&](std::size_t e, std::int64_t i) { return e * std::size_t(inner) + std::size_t(i); };
    Doubles sum(std::size_t(segments * inner)), mean(sum), top(sum.size(), -inf), weights(in.size()), d_sum(in.size()), d_mean(in.size()),
        d_top(in.size()), d_weights(in.size());
    for (std::int64_t i = 0; i < inner; ++i)
      for (std::int64_t s = 0; s < segments; ++s) {
        const std::size_t to = at(std::size_t(s), i);
        double count = 0, total = 0, dot = 0;
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) sum[to] += in[at(e, i)], top[to] = std::max(top[to], in[at(e, i)]), count += 1;
        mean[to] = count > 0 ? sum[to] / count : 0;
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) total += std::exp(in[at(e, i)] - top[to]);
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) weights[at(e, i)] = std::exp(in[at(e, i)] - top[to]) / total, dot += weights[at(e, i)] * by_edges[at(e, i)];
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) {
            d_sum[at(e, i)] = by[to], d_mean[at(e, i)] = by[to] / count, d_top[at(e, i)] = in[at(e, i)] == top[to] ? by[to] : 0;
            d_weights[at(e, i)] = weights[at(e, i)] * (by_edges[at(e, i)] - dot);
          }
      }
    const auto check = [&](const Tensor& got, const Doubles& want, const Tensor& along, const Doubles& back, const char* what) {
      expect_near(ops.no_gradient(got, "a test"), want, 1e-5, what);
      expect_near(gradients(Ops(context, false), {got}, {along}, {x})[0], back, 1e-5, std::string("gradient of ") + what);
    };
    check(ops.segment_sum(x, segment, segments), sum, d, d_sum, "sum");
    check(ops.segment_mean(x, segment, segments), mean, d, d_mean, "mean");
    check(ops.segment_max(x, segment, segments), top, d, d_top, "max");
    check(ops.segment_softmax(x, segment, segments), weights, d_edges, d_weights, "softmax");
  }
  EXPECT_THROW(ops.segment_sum(r.floats({2, 1}), integers({0, 3}), 3), Error);
}

/// Halves of the keys, and an empty part, merged: value and gradient of the whole.
TEST(ListOps, MergeEqualsTheUnion) {
  Random r(8);
  const Context context;
  const Ops ops(context);
  const Tensor q = leaf(r.floats({2, 5, 4, 8})), k = leaf(r.floats({2, 9, 2, 8})), v = leaf(r.floats({2, 9, 2, 6})),
               d = r.floats({2, 5, 4, 6}), d_lse = r.floats({2, 4, 5});
  const auto part = [&](std::int64_t begin, std::int64_t count) {
    return ops.attend(q, k.slice(1, begin, count), v.slice(1, begin, count), {}, want_lse);
  };
  const Attended whole = part(0, 9), merged = ops.merge(ops.merge(part(0, 4), part(4, 0)), part(4, 5));
  expect_near(ops.no_gradient(merged.out, "a test"), values(ops.no_gradient(whole.out, "a test")), 1e-6, "out");
  expect_near(ops.no_gradient(merged.lse, "a test"), values(ops.no_gradient(whole.lse, "a test")), 1e-6, "lse");
  const auto back = [&](const Attended& a) { return gradients(Ops(context, false), {a.out, a.lse}, {d, d_lse}, {q, k, v}); };
  const auto got = back(merged), want = back(whole);
  for (std::size_t i = 0; i < 3; ++i) expect_near(got[i], values(want[i]), 1e-5, "gradient " + std::to_string(i));
}

}  // namespace
}  // namespace heed
