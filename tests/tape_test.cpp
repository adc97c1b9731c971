// SPDX-License-Identifier: Apache-2.0
// The tape by itself; that every op's derivative is right is compared with torch in tests/python.
#include "heed/tape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/pool.h"
#include "heed/catalogue.h"
#include "heed/ops.h"

using namespace heed;

namespace {

const Context context;

float first(const Tensor& x) { return x.with_origin(nullptr).dense().data<float>()[0]; }

TEST(Tape, NothingIsRecordedUnasked) {
  const Ops ops(context);
  const Tensor x = Tensor::of({1, 2}, {2});
  EXPECT_EQ(ops.exp(ops.add(x, x)).origin(), nullptr);
  EXPECT_EQ(Ops(context, false).exp(leaf(x)).origin(), nullptr);
  EXPECT_NE(ops.exp(leaf(x)).origin(), nullptr);
}

TEST(Tape, MemoryIsOutOfReachWhereAGradientIsWanted) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({1, 2}, {2}));
  EXPECT_THROW(x.data<float>(), Error);
  EXPECT_THROW(x.slice(0, 0, 1).view(), Error);
  EXPECT_THROW(ops.exp(x).data<float>(), Error);
  EXPECT_EQ(ops.no_gradient(x, "a test").data<float>()[1], 2);
}

TEST(Tape, ViewsCarryTheirOrigin) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({1, 2, 3, 4, 5, 6}, {2, 3}));
  // Each element's weight: how often it is read, times its factor.
  const Tensor y = x.transpose(0, 1).slice(0, 1, 2).reshape({4}).broadcast({3, 4}).dense();
  const Tensor g = gradients(Ops(context, false), {y}, {ops.full({3, 4}, 2)}, {x})[0].dense();
  const std::vector<float> want{0, 6, 6, 0, 6, 6};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(g.data<float>()[i], want[i]) << i;
}

TEST(Tape, GradientsAccumulateAndCanBePlayedAgain) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({3}, {1}));
  const Tensor y = ops.mul(ops.mul(x, x), x);
  for (int round = 0; round < 2; ++round) EXPECT_FLOAT_EQ(first(gradients(Ops(context, false), {y}, {ops.full({1}, 1)}, {x})[0]), 27);
  EXPECT_EQ(first(gradients(Ops(context, false), {ops.full({1}, 1)}, {ops.full({1}, 1)}, {x})[0]), 0);  // no path: zeros
}

TEST(Tape, AGradientCanBeDifferentiated) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({2}, {1}));
  const Tensor slope =
      ops.gradient([&](const Ops& o, const std::vector<Tensor>& at) { return o.mul(o.square(at[0]), o.square(at[0])); }, {x})[0];
  EXPECT_FLOAT_EQ(first(slope), 32);                                                                // 4 x^3
  EXPECT_FLOAT_EQ(first(gradients(Ops(context, false), {slope}, {ops.full({1}, 1)}, {x})[0]), 48);  // 12 x^2
  // Without an outer gradient nothing stays behind.
  const Tensor plain = Tensor::of({2}, {1});
  EXPECT_EQ(ops.gradient([&](const Ops& o, const std::vector<Tensor>& at) { return o.square(at[0]); }, {plain})[0].origin(), nullptr);
}

TEST(Tape, GradientsOfAFunctionArePartial) {
  const Ops ops(context);
  const Tensor a = leaf(Tensor::of({3}, {1})), b = ops.square(a);
  const auto product = [](const Ops& o, const std::vector<Tensor>& at) { return o.mul(at[0], at[1]); };
  const auto found = ops.gradient(product, {a, b}), same = ops.gradient(product, {a, a});
  EXPECT_FLOAT_EQ(first(found[0]), 9);
  EXPECT_FLOAT_EQ(first(found[1]), 3);
  EXPECT_FLOAT_EQ(first(same[0]), 3);
  EXPECT_FLOAT_EQ(first(same[1]), 3);
  EXPECT_FLOAT_EQ(first(gradients(Ops(context, false), {found[0]}, {ops.full({1}, 1)}, {a})[0]), 6);  // of a^2
}

/// Gradient of sum(y cotangent), and the gradient of the sum of its squares, where y = f(x) and x = square(leaf) is any op's result.
template <class F>
std::vector<Tensor> two_derivatives(const Tensor& at, const F& f) {
  const Ops ops(context);
  const Tensor start = leaf(at), x = ops.square(start), y = f(ops, x);
  const Tensor cotangent = ops.scale(ops.arange(0, y.count()).to(DType::f32), 0.01f).reshape(y.shape());
  const Tensor once = gradients(ops, {y}, {cotangent}, {start})[0];
  return {once.with_origin(nullptr).dense(),
          gradients(Ops(context, false), {ops.sum(ops.square(once), {0, 1, 2, 3})}, {ops.full({}, 1)}, {start})[0].dense()};
}

void expect_close(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  for (std::size_t n = 0; n < want.size(); ++n) {
    float largest = 0;
    for (std::int64_t i = 0; i < want[n].count(); ++i) largest = std::max(largest, std::abs(want[n].data<float>()[i]));
    EXPECT_GT(largest, 0.01f) << n;
    for (std::int64_t i = 0; i < want[n].count(); ++i)
      EXPECT_NEAR(got[n].data<float>()[i], want[n].data<float>()[i], 1e-5f * largest) << n << " " << i;
  }
}

Tensor waves(const Shape& shape) {
  const Tensor x(DType::f32, shape);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = 0.7f + 0.4f * std::sin(1.7f * float(i));
  return x;
}

TEST(Tape, AttentionsDerivativesArePartial) {
  // Queries, keys and values are one tensor, the bias is made of it, and the weights have a gradient too.
  const auto attention = [](const Ops& ops, const Tensor& x, bool plain) {
    const Tensor bias = ops.sum(x.permute({0, 2, 3, 1}), {2}, true);  // (B, H, 1, M)
    const ScoreTerms terms{bias.broadcast({1, 2, 4, 4}), {}, {}};
    AttendOptions options;
    options.causal = true;
    const Attended got =
        plain ? ops.attend_plain(x, x, x, options, want_weights, terms) : ops.attend(x, x, x, options, want_weights, terms);
    return ops.concat({got.out, got.weights.permute({0, 2, 1, 3})}, 3);
  };
  const Tensor at = waves({1, 4, 2, 3});
  expect_close(two_derivatives(at, [&](const Ops& ops, const Tensor& x) { return attention(ops, x, false); }),
               two_derivatives(at, [&](const Ops& ops, const Tensor& x) { return attention(ops, x, true); }));
}

TEST(Tape, SamplingsDerivativesArePartial) {
  const auto sample = [](const Ops& ops, const Tensor& x, bool plain) {
    const Tensor grid = ops.scale(x.permute({0, 2, 3, 1}), 0.4f);
    return plain ? ops.grid_sample_plain(x, grid) : ops.grid_sample(x, grid);
  };
  const Tensor at = waves({1, 2, 4, 3});
  expect_close(two_derivatives(at, [&](const Ops& ops, const Tensor& x) { return sample(ops, x, false); }),
               two_derivatives(at, [&](const Ops& ops, const Tensor& x) { return sample(ops, x, true); }));
}

TEST(Tape, LongChainsAreTakenApartOneAfterTheOther) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({1}, {1}));
  Tensor y = x;
  for (int i = 0; i < 200000; ++i) y = ops.shift(y, 1e-6f);
  EXPECT_EQ(first(gradients(Ops(context, false), {y}, {ops.full({1}, 1)}, {x})[0]), 1);
}

TEST(Pool, ASecondCallAsksTheSystemForNothing) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer sees every block come and go";
#endif
  const Tensors qkv{{"q", Tensor::zeros(DType::f32, {1, 70, 2, 24})},
                    {"k", Tensor::zeros(DType::f32, {1, 90, 2, 24})},
                    {"v", Tensor::zeros(DType::f32, {1, 90, 2, 24})}};
  run("qk-norm", qkv, {}, R"({"norm": "l2"})");
  const auto before = base::pool_count().asked;
  run("qk-norm", qkv, {}, R"({"norm": "l2"})");
  EXPECT_EQ(base::pool_count().asked, before);
}

TEST(Tape, WrongUseIsNamed) {
  const Ops ops(context);
  const Tensor x = leaf(Tensor::of({1, 2}, {2})), y = ops.exp(x);
  EXPECT_THROW(gradients(ops, {y}, {ops.full({3}, 1)}, {x}), Error);
  EXPECT_THROW(gradients(ops, {y}, {}, {x}), Error);
  EXPECT_THROW(gradients(ops, {y}, {ops.full({2}, 1)}, {Tensor::of({1, 2}, {2})}), Error);
  const Tensors qkv{{"q", Tensor::zeros(DType::f32, {1, 2, 1, 4})},
                    {"k", Tensor::zeros(DType::f32, {1, 2, 1, 4})},
                    {"v", Tensor::zeros(DType::f32, {1, 2, 1, 4})}};
  EXPECT_THROW(record("exact", qkv, {}, {"in.nothing"}), Error);
  EXPECT_THROW(record("exact", qkv, {}, {"q"}), Error);
  EXPECT_THROW(record("exact", qkv, {}, {"in.q"}).gradients({{"weights", ops.full({1}, 1)}}), Error);
}

}  // namespace
