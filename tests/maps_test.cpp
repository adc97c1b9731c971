// SPDX-License-Identifier: Apache-2.0
// Ops on maps across instruction sets and threads, twice differentiated, with bad arguments; their values against torch: tests/python.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/random.h"
#include "heed/ops.h"

using namespace heed;

namespace {

Tensor random(std::uint64_t seed, const Shape& shape, float scale = 1) {
  const base::Random from(7, seed);
  const Tensor x(DType::f32, shape);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = scale * float(from.normal(std::uint64_t(i)));
  return x;
}

using Call = std::function<Tensor(const Ops&)>;

/// Every op at a shape that is cut into tasks, with tails of vectors.
std::vector<std::pair<const char*, Call>> calls() {
  const Tensor x = random(1, {3, 12, 19, 21}), grid = random(2, {3, 9, 40, 2}, 0.7f);
  const Tensor dense = random(3, {20, 12, 3, 3}), depthwise = random(4, {12, 1, 5, 3}), one = random(5, {1, 12, 3, 3}),
               up = random(6, {12, 7, 3, 2});
  return {
      {"conv", [=](const Ops& o) { return o.conv(x, dense, {}, {.padding = {1}}); }},
      {"conv stride",
       [=](const Ops& o) {
         return o.conv(x, dense, {}, {.stride = {2, 3}});
       }},
      {"conv depthwise",
       [=](const Ops& o) {
         return o.conv(x, depthwise, {}, {.padding = {2, 1}, .groups = 12});
       }},
      {"conv depthwise stride",
       [=](const Ops& o) {
         return o.conv(x, depthwise, {}, {.stride = {2}, .padding = {2, 1}, .groups = 12});
       }},
      {"conv to one", [=](const Ops& o) { return o.conv(x, one, {}, {.dilation = {2}}); }},
      {"conv transposed", [=](const Ops& o) { return o.conv(x, up, {}, {.stride = {2}, .transposed = true}); }},
      {"max_pool", [=](const Ops& o) { return o.max_pool(x, {.kernel = {3}, .stride = {2}, .padding = {1}}); }},
      {"average_pool",
       [=](const Ops& o) {
         return o.average_pool(x, {.kernel = {3, 2}, .stride = {2, 1}});
       }},
      {"adaptive_average_pool", [=](const Ops& o) { return o.adaptive_average_pool(x, {1}); }},
      {"group_norm", [=](const Ops& o) { return o.group_norm(x, 4); }},
      {"batch_norm", [=](const Ops& o) { return o.batch_norm(x, {}, {}); }},
      {"resize",
       [=](const Ops& o) {
         return o.resize(x, {40, 11}, Resample::cubic);
       }},
      {"grid_sample", [=](const Ops& o) { return o.grid_sample(x, grid); }},
      {"grid_sample cubic", [=](const Ops& o) { return o.grid_sample(x, grid, Resample::cubic, PadMode::reflect); }},
      {"extend",
       [=](const Ops& o) {
         return o.extend(x, {2, 3}, {3, 5}, {4}, PadMode::reflect);
       }},
      {"unfold", [=](const Ops& o) { return o.unfold(x, {.kernel = {3}, .stride = {2}, .padding = {1}}); }},
  };
}

TEST(Maps, ThreadsChangeNoBit) {
  for (const auto& [name, call] : calls()) {
    const Context one{.threads = 1}, many{.threads = 3};
    const Tensor a = call(Ops(one)), b = call(Ops(many));
    EXPECT_EQ(std::memcmp(a.data<float>(), b.data<float>(), std::size_t(a.count()) * 4), 0) << name;
  }
}

TEST(Maps, InstructionSetsAgree) {
  for (const auto& [name, call] : calls()) {
    const Context low{.isa = Isa::avx2}, best;
    const Tensor a = call(Ops(low)), b = call(Ops(best));
    for (std::int64_t i = 0; i < a.count(); ++i)
      ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 2e-4 * (1 + std::abs(a.data<float>()[i]))) << name << " at " << i;
  }
}

TEST(Maps, NotANumberStaysInItsWindows) {
  const Tensor x = random(8, {1, 2, 8, 8}), w = random(9, {2, 1, 3, 3});
  x.data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  const Context context;
  const Ops ops{context};
  for (const Tensor& y :
       {ops.conv(x, w, {}, {.padding = {1}, .groups = 2}), ops.max_pool(x, {.kernel = {3}, .stride = {1}, .padding = {1}}),
        ops.average_pool(x, {.kernel = {3}, .stride = {1}, .padding = {1}})})
    for (std::int64_t i = 0; i < y.count(); ++i) EXPECT_EQ(std::isnan(y.data<float>()[i]), i == 0 || i == 1 || i == 8 || i == 9) << i;
  // Outside the map nothing is read.
  const Tensor grid = ops.full({1, 1, 1, 2}, 3);
  EXPECT_EQ(ops.grid_sample(x, grid).data<float>()[0], 0);
}

TEST(Maps, AConvolutionIsTwiceDifferentiable) {
  // d/dw of <c, d/dx sum(conv(x, w)^2)> by central differences.
  const Context context;
  const Ops ops(context);
  const Tensor x = random(10, {2, 3, 5, 6}, 0.5f), w = random(11, {4, 3, 3, 2}, 0.3f), c = random(12, x.shape());
  const auto slope = [&](const Ops& o, const Tensor& weight) {
    return o.gradient(
        [&](const Ops& p, const std::vector<Tensor>& at) {
          return p.sum(p.square(p.conv(at[0], weight, {}, {.padding = {1}})), {0, 1, 2, 3});
        },
        {x})[0];
  };
  const Tensor along = leaf(w);
  const Tensor found = gradients(Ops(context, false), {slope(ops, along)}, {c}, {along})[0].dense();
  for (const std::int64_t i : {0, 7, 33, 71}) {
    const auto at = [&](float step) {
      const Tensor moved = ops.shift(w, 0);
      moved.data<float>()[i] += step;
      const Tensor g = slope(ops, moved).with_origin(nullptr).dense();
      double total = 0;
      for (std::int64_t j = 0; j < g.count(); ++j) total += double(g.data<float>()[j]) * c.data<float>()[j];
      return total;
    };
    EXPECT_NEAR(found.data<float>()[i], (at(0.05f) - at(-0.05f)) / 0.1, 2e-3 * (1 + std::abs(found.data<float>()[i]))) << i;
  }
}

TEST(Maps, BadArgumentsAreNamed) {
  const Context context;
  const Ops ops{context};
  const Tensor x = random(13, {1, 4, 5, 5}), w = random(14, {4, 4, 3, 3});
  const auto says = [](const std::string& part, const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "nothing thrown for " << part;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
  };
  says("weight", [&] { ops.conv(x, random(15, {4, 3, 3, 3})); });
  says("groups", [&] { ops.conv(x, w, {}, {.groups = 3}); });
  says("x: ", [&] { ops.conv(random(16, {1, 4, 2, 5}), w); });
  says("stride", [&] { ops.conv(x, w, {}, {.stride = {0}}); });
  says("padding", [&] { ops.max_pool(x, {.kernel = {2}, .padding = {2}}); });
  says("kernel", [&] { ops.max_pool(x, {.kernel = {2, 2, 2}}); });
  says("groups", [&] { ops.group_norm(x, 3); });
  says("before", [&] { ops.extend(x, 2, 5, 0, PadMode::reflect); });
  says("grid", [&] { ops.grid_sample(x, random(17, {1, 2, 2, 3})); });
  says("multiples", [&] { ops.windows(x, {2}); });
}

TEST(Maps, StridedTensorsAreCopiedWhole) {
  const Tensor x = random(18, {5, 1, 18, 34, 3});
  for (const auto& view : {x.permute({3, 1, 0, 2, 4}), x.permute({4, 3, 2, 1, 0}), x.slice(3, 3, 20).permute({0, 4, 1, 3, 2}),
                           x.slice(2, 1, 5).slice(3, 2, 30),
                           x.slice(1, 0, 1).permute({1, 0, 2, 3, 4}).broadcast({6, 5, 18, 34, 3}).transpose(0, 4), x.slice(4, 1, 1)}) {
    const Tensor got = view.dense();
    ASSERT_TRUE(got.view().contiguous());
    const auto& s = view.view();
    for (std::int64_t i = 0; i < got.count(); ++i) {
      std::int64_t rest = i, offset = 0;
      for (int a = s.rank() - 1; a >= 0; --a) offset += rest % s.extent(a) * s.stride(a), rest /= s.extent(a);
      ASSERT_EQ(got.data<float>()[i], static_cast<const float*>(s.data)[offset]) << i;
    }
  }
}

}  // namespace
