// SPDX-License-Identifier: Apache-2.0
// Copies of strided views, and the ops that move elements, against literal loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <set>

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

/// out[...] = x[source[0][i0], source[1][i1], ...], -1 a zero, bytes compared.
void expect_taken(const Tensor& x, const std::vector<std::vector<std::int64_t>>& source, const Tensor& out, const char* what) {
  const auto size = std::int64_t(size_of(x.dtype()));
  ASSERT_TRUE(out.view().contiguous()) << what;
  ASSERT_EQ(out.rank(), x.rank()) << what;
  std::array<std::int64_t, max_rank> index{};
  for (int i = 0; i < x.rank(); ++i) ASSERT_EQ(out.extent(i), std::int64_t(source[std::size_t(i)].size())) << what;
  for (std::int64_t n = 0; n < out.count(); ++n) {
    std::int64_t at = 0;
    bool blank = false;
    for (int i = 0; i < x.rank(); ++i) {
      const std::int64_t from = source[std::size_t(i)][std::size_t(index[std::size_t(i)])];
      blank |= from < 0, at += from * x.stride(i);
    }
    const char zeros[8] = {};
    ASSERT_EQ(std::memcmp(out.data<char>() + n * size, blank ? zeros : x.data<char>() + at * size, std::size_t(size)), 0)
        << what << " " << x.shape().text() << " to " << out.shape().text() << " element " << n << " of " << size << " bytes";
    for (int i = x.rank() - 1; i >= 0 && ++index[std::size_t(i)] == out.extent(i); --i) index[std::size_t(i)] = 0;
  }
}

std::vector<std::int64_t> counted(std::int64_t n) {
  std::vector<std::int64_t> list;
  for (std::int64_t i = 0; i < n; ++i) list.push_back(i);
  return list;
}
/// Of an axis with edges.
std::vector<std::int64_t> edged(std::int64_t n, std::int64_t before, std::int64_t after, PadMode mode) {
  std::vector<std::int64_t> list;
  for (std::int64_t i = -before; i < n + after; ++i) {
    const std::int64_t mirrored = i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    const bool inside = i >= 0 && i < n;
    list.push_back(mode == PadMode::zeros      ? (inside ? i : -1)
                   : mode == PadMode::circular ? (i + n) % n
                   : mode == PadMode::reflect  ? mirrored
                                               : std::min(std::max<std::int64_t>(i, 0), n - 1));
  }
  return list;
}

TEST(Moves, TakeWhatALoopTakes) {
  Draw draw{std::mt19937(7)};
  Context context;
  for (int round = 0; round < 800; ++round) {
    const DType dtype = dtypes[round % 4];
    const Tensor x = random_view(draw, dtype, round % 10 == 0 ? 90 : 12);
    if (x.count() > 20000) continue;
    context.threads = 1 + round % 3;
    context.isa = round % 2 && runs_here(Isa::avx512) ? Isa::avx512 : Isa::avx2;
    const Ops ops(context, false);
    std::vector<std::vector<std::int64_t>> all;
    for (int i = 0; i < x.rank(); ++i) all.push_back(counted(x.extent(i)));
    const int axis = draw(0, x.rank() - 1), other = draw(0, x.rank() - 1);
    const std::int64_t n = x.extent(axis);
    const auto with = [&](int a, std::vector<std::int64_t> list) {
      auto result = all;
      result[std::size_t(a)] = std::move(list);
      return result;
    };
    auto turned = all;
    for (const int a : std::set<int>{axis, other}) std::reverse(turned[std::size_t(a)].begin(), turned[std::size_t(a)].end());
    expect_taken(x, turned, ops.flip(x, axis == other ? std::vector<int>{axis} : std::vector<int>{axis, other}), "flip");
    const std::int64_t places = draw(-30, 30);
    auto rolled = all[std::size_t(axis)];
    for (std::int64_t i = 0; i < n; ++i) rolled[std::size_t(i)] = (((i - places) % n) + n) % n;
    expect_taken(x, with(axis, rolled), ops.roll(x, axis, places), "roll");
    std::vector<std::int64_t> repeated, chosen;
    for (std::int64_t i = 0; i < n; ++i) repeated.insert(repeated.end(), 3, i);
    expect_taken(x, with(axis, repeated), ops.repeat(x, axis, 3), "repeat");
    const Tensor index(DType::i64, {draw(0, 40)});
    for (std::int64_t i = 0; i < index.count(); ++i) chosen.push_back(index.data<std::int64_t>()[i] = draw(0, int(n) - 1));
    expect_taken(x, with(axis, chosen), ops.index_select(x, axis, index), "index_select");
    if (dtype == DType::f32) {
      for (const PadMode mode : {PadMode::zeros, PadMode::replicate, PadMode::reflect, PadMode::circular}) {
        const auto most = [&](int a) {
          return int(mode == PadMode::reflect ? x.extent(a) - 1 : mode == PadMode::circular ? x.extent(a) : 20);
        };
        auto padded = all;
        std::vector<int> axes;
        std::vector<std::int64_t> before, after;
        for (const int a : std::set<int>{axis, other}) {
          axes.insert(axes.begin(), a - (round % 2 ? x.rank() : 0));
          before.insert(before.begin(), draw(0, most(a))), after.insert(after.begin(), draw(0, most(a)));
          padded[std::size_t(a)] = edged(x.extent(a), before[0], after[0], mode);
        }
        expect_taken(x, padded, ops.extend(x, axes, before, after, mode), "extend");
      }
    }
    if (HasFatalFailure()) return;
  }
}

TEST(Moves, GatherOfAnySize) {
  Draw draw{std::mt19937(8)};
  Context context;
  for (int round = 0; round < 400; ++round) {
    const DType dtype = dtypes[round % 4];
    context.threads = 1 + round % 3;
    context.isa = round % 8 < 4 && runs_here(Isa::avx512) ? Isa::avx512 : Isa::avx2;
    const std::int64_t outer = draw(1, 30), extent = round % 20 == 0 ? draw(1, 3000) : draw(1, 40), inner = draw(0, 2) ? 1 : draw(1, 5),
                       n = draw(1, round % 20 == 0 ? 3000 : 40);
    const Tensor memory(dtype, {outer, extent, inner}), index(DType::i64, {outer, n, inner});
    const auto size = std::int64_t(size_of(dtype));
    for (std::int64_t i = 0; i < memory.count() * size; ++i) memory.data<std::uint8_t>()[i] = std::uint8_t(draw(0, 255));
    for (std::int64_t i = 0; i < index.count(); ++i) index.data<std::int64_t>()[i] = draw(0, int(extent) - 1);
    const Tensor out = Ops(context, false).gather(memory, 1, index);
    for (std::int64_t i = 0; i < out.count(); ++i) {
      const std::int64_t at = (i / (n * inner) * extent + index.data<std::int64_t>()[i]) * inner + i % inner;
      ASSERT_EQ(std::memcmp(out.data<char>() + i * size, memory.data<char>() + at * size, std::size_t(size)), 0) << i;
    }
    index.data<std::int64_t>()[draw(0, int(index.count()) - 1)] = draw(0, 1) ? -1 : extent;
    ASSERT_THROW(Ops(context, false).gather(memory, 1, index), Error);
  }
}

TEST(Moves, SeveralAxesAreChecked) {
  const Ops ops{Context{}};
  const Tensor x = ops.full({3, 4}, 1);
  EXPECT_THROW(ops.pad(x, {0, 0}, {1}, {1}), Error);
  EXPECT_THROW(ops.pad(x, {0, 1}, {1, 2, 3}, {1}), Error);
  EXPECT_THROW(ops.pad(x, {0, 1}, {1}, {}), Error);
  EXPECT_THROW(ops.pad(x, {0, 2}, {1}, {1}), Error);
  EXPECT_THROW(ops.pad(x, {0, 1}, {1, -1}, {1}), Error);
  EXPECT_THROW(ops.pad(x, {0}, {std::numeric_limits<std::int64_t>::max()}, {1}), Error);
  EXPECT_THROW(ops.extend(x, {0, 1}, {3}, {1}, PadMode::reflect), Error);
  EXPECT_THROW(ops.extend(x, {0, 1}, {4, 4}, {1}, PadMode::circular), Error);
  EXPECT_EQ(ops.pad(x, std::vector<int>{}, {0}, {0}).shape(), x.shape());
}

}  // namespace
}  // namespace heed
