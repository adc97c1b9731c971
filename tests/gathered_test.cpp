// SPDX-License-Identifier: Apache-2.0
// attend_gathered() against the double loop of attend() under the mask that the sets mean.
#include "heed/gathered.h"

#include <gtest/gtest.h>

#include <cmath>

#include "attend_cases.h"

namespace heed {
namespace {

using namespace attend_cases;

struct Sets {
  Tensor offsets, index, mask;
  std::int64_t query_block;
  KeySets view() const { return {offsets, index, query_block}; }
};

Sets random_sets(Random& r, std::int64_t B, std::int64_t H, std::int64_t N, std::int64_t M) {
  const int choices[] = {1, 3, 16, 64, 120}, percents[] = {0, 5, 30, 90, 100};
  const std::int64_t size = choices[r.whole(0, 4)], blocks = (N + size - 1) / size;
  std::vector<std::int64_t> offsets{0}, index;
  Sets s{{}, {}, Tensor::zeros(DType::boolean, {B, H, N, M}), size};
  for (std::int64_t set = 0; set < B * H * blocks; ++set) {
    const int percent = percents[r.whole(0, 4)];
    for (std::int64_t j = 0; j < M; ++j) {
      if (!r.chance(percent)) continue;
      index.push_back(j);
      for (std::int64_t i = set % blocks * size; i < std::min(N, (set % blocks + 1) * size); ++i)
        s.mask.data<bool>()[(set / blocks * N + i) * M + j] = true;
    }
    offsets.push_back(std::int64_t(index.size()));
  }
  const auto numbers = [](const std::vector<std::int64_t>& from) {
    const Tensor t(DType::i64, Shape{std::int64_t(from.size())});
    std::copy(from.begin(), from.end(), t.data<std::int64_t>());
    return t;
  };
  s.offsets = numbers(offsets), s.index = numbers(index);
  return s;
}

TEST(Gathered, EqualsAMask) {
  for (unsigned seed = 0; seed < 60; ++seed) {
    Random r(seed);
    const DType dtype = std::array{DType::f32, DType::bf16, DType::f16}[std::size_t(r.whole(0, 2))];
    const std::int64_t B = r.whole(1, 2), G = r.whole(1, 2), H = G * r.whole(1, 3), N = r.whole(1, 130), M = r.whole(1, 300),
                       D = r.whole(1, 70), E = r.whole(1, 70);
    Case c;
    c.q = r.permuted(B, N, H, D, dtype), c.k = r.permuted(B, M, G, D, dtype), c.v = r.permuted(B, M, G, E, dtype);
    c.kept.reserve(5);
    AttendOptions o;
    o.causal = r.chance(60);
    o.weighting =
        std::array{Weighting::softmax, Weighting::relu, Weighting::sigmoid, Weighting::softmax_plus_one}[std::size_t(r.whole(0, 3))];
    if (r.chance(30)) o.softcap = 4;
    if (r.chance(30)) o.window_left = r.whole(0, 60);
    if (r.chance(20)) o.window_right = r.whole(0, 60);
    if (r.chance(30)) o.first_keys = r.whole(1, 40);
    if (r.chance(20)) o.key_lengths = c.keep(r.lengths(B, M));
    if (r.chance(20)) o.query_lengths = c.keep(r.lengths(B, N));
    if (r.chance(30)) o.scale = -0.3f;
    if (o.weighting == Weighting::softmax && r.chance(40)) o.sink = c.keep(r.floats(Shape{H}));
    const Sets sets = random_sets(r, B, H, N, M);
    c.options = o, c.options.mask = sets.mask.view();
    const Result want = reference(c);
    for (const Isa isa : isas()) {
      Tensor first, first_lse;
      for (const int threads : {1, 2}) {
        SCOPED_TRACE(std::to_string(seed) + " " + name_of(isa));
        Context context;
        context.isa = isa, context.threads = threads;
        const Tensor out = spoiled(DType::f32, {B, N, H, E}), lse = spoiled(DType::f32, {B, H, N});
        std::optional<View> asked;
        if (o.weighting != Weighting::sigmoid && o.weighting != Weighting::relu) asked = lse.view();
        attend_gathered(c.q, c.k, c.v, out, sets.view(), o, asked, context);
        if (threads == 2) {
          EXPECT_EQ(0, std::memcmp(out.data<float>(), first.data<float>(), std::size_t(B * N * H * E) * sizeof(float)));
          continue;
        }
        first = out;
        // As in attend_test.cpp: random roundings of f32, and for 16 bits weights within 2^-8 and 1e-4 of themselves.
        const double f32 = 1.2e-7 * (64 + 32 * std::sqrt(double(D + N + M))), weights = dtype == DType::f32 ? 0 : 1.0 / 256 + 1e-4;
        for (std::size_t at = 0; at < want.out.size(); ++at)
          ASSERT_NEAR(out.data<float>()[at], want.out[at], f32 * (1 + std::abs(want.out[at])) + weights * want.mass[at]) << at;
        for (std::size_t at = 0; asked && at < want.lse.size(); ++at)
          if (want.lse[at] == -inf)
            ASSERT_EQ(lse.data<float>()[at], -inf);
          else
            ASSERT_NEAR(lse.data<float>()[at], want.lse[at], f32 * (1 + std::abs(want.lse[at])) + (weights > 0 ? 1e-4 : 0));
      }
    }
  }
}

TEST(Gathered, WhatIsNotFiniteReachesOnlyThoseThatLook) {
  Random r(7);
  Case c;
  c.q = r.floats({1, 40, 1, 16}), c.k = r.floats({1, 300, 1, 16}), c.v = r.floats({1, 300, 1, 16});
  c.v.data<float>()[5 * 16] = std::nanf(""), c.v.data<float>()[280 * 16 + 1] = float(inf);
  const Tensor offsets = Tensor::zeros(DType::i64, {3}), index(DType::i64, {501}), out(DType::f32, {1, 40, 1, 16});
  auto* at = index.data<std::int64_t>();
  for (std::int64_t j = 0; j < 300; ++j)
    if (j != 5 && j != 280) *at++ = j;  // the first 20 queries
  offsets.data<std::int64_t>()[1] = 298;
  for (std::int64_t j = 0; j < 203; ++j) *at++ = j + (j > 100 ? 97 : 0);
  offsets.data<std::int64_t>()[2] = 501;
  for (const Isa isa : isas()) {
    Context context;
    context.isa = isa;
    attend_gathered(c.q, c.k, c.v, out, {offsets, index, 20}, {}, {}, context);
    for (std::int64_t i = 0; i < 40; ++i)
      for (std::int64_t e = 0; e < 16; ++e) {
        const float x = out.data<float>()[i * 16 + e];
        EXPECT_EQ(std::isnan(x), i >= 20 && e == 0) << name_of(isa) << ' ' << i << ' ' << e;
        EXPECT_EQ(std::isinf(x), i >= 20 && e == 1) << name_of(isa) << ' ' << i << ' ' << e;
      }
  }
}

TEST(Gathered, RefusesWhatDoesNotFit) {
  const Tensor q = Tensor::zeros(DType::f32, {1, 10, 2, 4}), k = Tensor::zeros(DType::f32, {1, 8, 1, 4}), out(DType::f32, {1, 10, 2, 4});
  const auto numbers = [](std::vector<std::int64_t> values) {
    const Tensor t(DType::i64, Shape{std::int64_t(values.size())});
    std::copy(values.begin(), values.end(), t.data<std::int64_t>());
    return t;
  };
  const auto refused = [&](const Tensor& offsets, const Tensor& index, std::int64_t block, const AttendOptions& o,
                           const std::string& name) {
    try {
      attend_gathered(q, k, k, out, {offsets, index, block}, o);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).rfind(name, 0), 0u) << error.what();
    }
  };
  const Tensor good = numbers({0, 1, 2, 3, 4}), keys = numbers({0, 7, 3, 3});
  attend_gathered(q, k, k, out, {good, keys, 5}, {});
  refused(good, keys, 0, {}, "sets.query_block");
  refused(good, keys, 4, {}, "sets.offsets");
  refused(numbers({0, 2, 1, 3, 4}), keys, 5, {}, "sets.offsets");
  refused(numbers({0, 1, 2, 3, 5}), keys, 5, {}, "sets.offsets");
  refused(numbers({0, 9, 2, 3, 4}), keys, 5, {}, "sets.offsets");
  refused(good, numbers({0, 8, 3, 3}), 5, {}, "sets.index");
  refused(good, numbers({0, -1, 3, 3}), 5, {}, "sets.index");
  refused(numbers({0, 0, 0, 0, 4}), keys, 5, {}, "sets.index");
  refused(good, keys.to(DType::f32), 5, {}, "sets.index");
  AttendOptions o;
  o.dilation = 3;
  refused(good, keys, 5, o, "dilation");
}

}  // namespace
}  // namespace heed
