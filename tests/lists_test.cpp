// SPDX-License-Identifier: Apache-2.0
// attend_lists() and its gradients against loops in double and central differences, over random lists, strides and options.
#include "heed/lists.h"

#include "heed/attend.h"
#include "lists_problem.h"

namespace heed {
namespace {
using namespace lists_test;

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

}  // namespace
}  // namespace heed
