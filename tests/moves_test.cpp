// SPDX-License-Identifier: Apache-2.0
// Copies of strided views, and the ops that move elements, against literal loops.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/parallel.h"
#include "heed/ops.h"

namespace heed {
namespace {

struct Draw {
  std::mt19937 engine;
  int operator()(int least, int most) { return std::uniform_int_distribution<int>(least, most)(engine); }
};

/// A view into random bytes: permuted, sliced, with steps, backwards, broadcast.
Tensor random_view(Draw& draw, DType dtype, int most) {
  const int rank = draw(1, 5);
  std::vector<std::int64_t> extents, strides;
  std::int64_t step = draw(0, 9) == 0 ? 2 : 1, first = 0;
  for (int i = 0; i < rank; ++i) {
    const std::int64_t extent = draw(0, 3) == 0 ? draw(1, 3) : draw(1, most);
    const int kind = draw(0, 7);
    const std::int64_t stride = kind == 0 ? 0 : step;
    extents.push_back(extent);
    strides.push_back(kind == 1 ? -stride : stride);
    if (kind == 1) first += (extent - 1) * stride;
    if (kind != 0) step *= extent + (draw(0, 3) == 0 ? draw(1, 5) : 0);
  }
  const auto size = size_of(dtype);
  const Tensor memory(DType::u8, {std::int64_t(size) * step});
  for (std::int64_t i = 0; i < memory.count(); ++i) memory.data<std::uint8_t>()[i] = std::uint8_t(draw(0, 255));
  View view{memory.data<char>() + std::size_t(first) * size, dtype, {}, {}};
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < extents.size(); ++i) order.push_back(i);
  std::shuffle(order.begin(), order.end(), draw.engine);
  std::vector<std::int64_t> shape;
  for (std::size_t i = 0; i < order.size(); ++i) shape.push_back(extents[order[i]]), view.strides[i] = strides[order[i]];
  view.shape = Shape(shape);
  return Tensor(view, std::make_shared<Tensor>(memory));
}

void expect_copied(const Tensor& x, const Tensor& dense) {
  ASSERT_TRUE(dense.view().contiguous());
  ASSERT_EQ(dense.shape(), x.shape());
  const auto size = std::int64_t(size_of(x.dtype()));
  std::array<std::int64_t, max_rank> index{};
  for (std::int64_t n = 0; n < x.count(); ++n) {
    std::int64_t at = 0;
    for (int i = 0; i < x.rank(); ++i) at += index[std::size_t(i)] * x.stride(i);
    ASSERT_EQ(std::memcmp(dense.data<char>() + n * size, x.data<char>() + at * size, std::size_t(size)), 0)
        << x.shape().text() << " element " << n << " of " << size << " bytes";
    for (int i = x.rank() - 1; i >= 0 && ++index[std::size_t(i)] == x.extent(i); --i) index[std::size_t(i)] = 0;
  }
}

constexpr DType dtypes[] = {DType::u8, DType::bf16, DType::f32, DType::i64};

TEST(Dense, AnyStridesOfAnySize) {
  Draw draw{std::mt19937(5)};
  for (int round = 0; round < 2000; ++round) {
    const Tensor x = random_view(draw, dtypes[round % 4], 11);
    for (const int threads : {1, 3}) expect_copied(x, x.dense(threads));
    if (HasFatalFailure()) return;
  }
}

TEST(Dense, LargeOnesOfManyThreads) {
  Draw draw{std::mt19937(6)};
  for (const DType dtype : dtypes) {
    const std::vector<std::pair<std::vector<std::int64_t>, std::vector<int>>> turns{
        {{513, 1031}, {1, 0}},           {{1024, 512}, {1, 0}},
        {{2, 700001}, {1, 0}},           {{350003, 3}, {1, 0}},
        {{4, 130, 9, 65}, {0, 2, 1, 3}}, {{4, 130, 9, 65}, {0, 2, 3, 1}},
        {{3, 33, 34, 35}, {3, 2, 1, 0}}, {{8, 2, 2, 55, 57}, {0, 3, 1, 4, 2}}};
    for (const auto& [shape, order] : turns) {
      const Tensor memory(dtype, Shape(shape));
      auto* byte = memory.data<std::uint8_t>();
      for (std::int64_t i = 0; i < memory.count() * std::int64_t(size_of(dtype)); ++i) byte[i] = std::uint8_t(draw.engine());
      const Tensor x = memory.permute(order), one = x.dense(1);
      expect_copied(x, one);
      if (HasFatalFailure()) return;
      for (const int threads : {2, 5})
        ASSERT_EQ(std::memcmp(x.dense(threads).data<char>(), one.data<char>(), std::size_t(x.count()) * size_of(dtype)), 0);
      const int last = x.rank() - 1;
      const Tensor part = x.slice(last, 1, x.extent(last) - 1);
      expect_copied(part, part.dense(2));
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Dense, EmptyAndScalar) {
  EXPECT_EQ(Tensor::zeros(DType::f32, {3, 0, 2}).transpose(0, 2).dense().shape(), Shape({2, 0, 3}));
  const Tensor one = Tensor::of({7}, {1, 1}).broadcast({3, 1}).slice(0, 1, 1);
  EXPECT_EQ(one.dense().data<float>()[0], 7);
}

TEST(Dense, AnotherDtypeOfAStridedView) {
  const Tensor x = Tensor::of({1, 2, 3, 4, 5, 6}, {2, 3}).transpose(0, 1), whole = x.to(DType::i64),
               half = x.to(DType::bf16).to(DType::f32);
  const std::int64_t expected[] = {1, 4, 2, 5, 3, 6};
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(whole.data<std::int64_t>()[i], expected[i]);
    EXPECT_EQ(half.data<float>()[i], float(expected[i]));
  }
}

}  // namespace
}  // namespace heed
