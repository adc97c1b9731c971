// SPDX-License-Identifier: Apache-2.0
// The tape by itself; that every op's derivative is right is compared with torch in tests/python.
#include "heed/tape.h"

#include <gtest/gtest.h>

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
  const Tensor slope = ops.gradient([&](const Ops& o, const std::vector<Tensor>& at) { return o.mul(o.square(at[0]), o.square(at[0])); }, {x})[0];
  EXPECT_FLOAT_EQ(first(slope), 32);  // 4 x^3
  EXPECT_FLOAT_EQ(first(gradients(Ops(context, false), {slope}, {ops.full({1}, 1)}, {x})[0]), 48);  // 12 x^2
  // Without an outer gradient nothing stays behind.
  const Tensor plain = Tensor::of({2}, {1});
  EXPECT_EQ(ops.gradient([&](const Ops& o, const std::vector<Tensor>& at) { return o.square(at[0]); }, {plain})[0].origin(), nullptr);
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
  const Tensors qkv{{"q", Tensor::zeros(DType::f32, {1, 70, 2, 24})}, {"k", Tensor::zeros(DType::f32, {1, 90, 2, 24})}, {"v", Tensor::zeros(DType::f32, {1, 90, 2, 24})}};
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
  const Tensors qkv{{"q", Tensor::zeros(DType::f32, {1, 2, 1, 4})}, {"k", Tensor::zeros(DType::f32, {1, 2, 1, 4})}, {"v", Tensor::zeros(DType::f32, {1, 2, 1, 4})}};
  EXPECT_THROW(record("exact", qkv, {}, {"in.nothing"}), Error);
  EXPECT_THROW(record("exact", qkv, {}, {"q"}), Error);
  EXPECT_THROW(record("exact", qkv, {}, {"in.q"}).gradients({{"weights", ops.full({1}, 1)}}), Error);
}

}  // namespace
