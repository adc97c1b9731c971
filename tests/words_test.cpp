// SPDX-License-Identifier: Apache-2.0
// What the words refuse, and what holds of them by construction; values and gradients are compared with torch in tests/python.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "heed/ops.h"

using namespace heed;

namespace {

const Context context{2, Isa::avx2};
const Ops ops(context);

Tensor numbers(const Shape& shape) { return ops.normal(shape, 5); }
Tensor places(const std::vector<std::int64_t>& values) {
  Tensor made(DType::i64, {std::int64_t(values.size())});
  std::copy(values.begin(), values.end(), made.data<std::int64_t>());
  return made;
}

void refuses(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "nothing thrown for " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Words, Refusals) {
  const Tensor a = numbers({2, 3}), b = numbers({4, 5});
  refuses([&] { ops.einsum("ij,jk->ik", {a, b}); }, "one extent of 'j'");
  refuses([&] { ops.einsum("ij,jk->ik", {a}); }, "operands");
  refuses([&] { ops.einsum("ij->ij", {a, b}); }, "operands");
  refuses([&] { ops.einsum("ii->i", {a}); }, "each letter once");
  refuses([&] { ops.einsum("ij->ik", {a}); }, "letters of the operands");
  refuses([&] { ops.einsum("ijk->i", {a}); }, "rank 3");
  refuses([&] { ops.einsum("i?->i", {a}); }, "equation");
  refuses([&] { ops.fft(a, 0); }, "[..., 2]");
  refuses([&] { ops.irfft(numbers({5, 2}), 0, 11); }, "n/2 + 1 = 5");
  refuses([&] { ops.solve(a, b); }, "[..., n, n]");
  refuses([&] { ops.recurrence(numbers({3}), b, 1); }, "");
  refuses([&] { ops.embedding_bag(b, places({0, 4}), places({0})); }, "0 to 3");
  refuses([&] { ops.embedding_bag(b, places({0, 4}), places({0}), "max"); }, "0 to 3");
  refuses([&] { ops.embedding_bag(b, places({0, 1}), places({1})); }, "0 first");
  refuses([&] { ops.embedding_bag(b, places({0, 1}), places({0, 2, 1})); }, "ascending");
  refuses([&] { ops.embedding_bag(b, places({0}), places({0}), "median"); }, "mode");
  refuses([&] { ops.embedding_bag(b, places({0}), places({0}), "mean", numbers({1})); }, "weights");
  refuses([&] { ops.gru(numbers({1, 2, 3}), {}, numbers({12, 4}), numbers({12, 4})); }, "input");
  refuses([&] { ops.lstm_cell(numbers({1, 3}), numbers({2, 4}), {}, numbers({16, 3}), numbers({16, 4})); }, "h");
  refuses([&] { ops.index_select(b, 0, places({std::numeric_limits<std::int64_t>::min()})); }, "0 to 3");
  refuses([&] { ops.permutation(-1, 0); }, "0 or more");
}

TEST(Words, TransformsComeBack) {
  for (std::int64_t n : {1, 2, 3, 5, 16, 17, 100, 127, 256}) {
    const Tensor x = numbers({3, n, 2});
    const Tensor pairs = ops.fft(ops.fft(x, 1), 1, true), reals = ops.irfft(ops.rfft(x, 1), 1, n), cosines = ops.idct(ops.dct(x, 1), 1);
    for (const Tensor& back : {pairs, reals, cosines})
      for (std::int64_t i = 0; i < x.count(); ++i) ASSERT_NEAR(back.data<float>()[i], x.data<float>()[i], 2e-6) << n;
  }
}

TEST(Words, PermutationsHoldEveryNumberOnce) {
  const Tensor p = ops.permutation(1000, 3), q = ops.permutation(1000, 4);
  std::vector<std::int64_t> seen(p.data<std::int64_t>(), p.data<std::int64_t>() + 1000);
  EXPECT_FALSE(std::equal(seen.begin(), seen.end(), q.data<std::int64_t>()));
  std::sort(seen.begin(), seen.end());
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(seen[std::size_t(i)], i);
}

TEST(Words, ThreadsAndRankingsAgree) {
  const Context one{1, Isa::avx2};
  const Ops alone(one);
  Tensor x = ops.scale(numbers({5, 3000}), 4);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = std::round(x.data<float>()[i]);  // many equals
  const Tensor order = ops.argsort(x, 1, true);
  for (std::int64_t k : {1, 7, 64, 65, 150, 188, 3000}) {  // heap, selection and bytes
    const Tensor first = ops.topk(x, k, 1).second, same = alone.topk(x, k, 1).second;
    for (std::int64_t row = 0; row < 5; ++row)
      for (std::int64_t i = 0; i < k; ++i) {
        ASSERT_EQ(first.data<std::int64_t>()[row * k + i], order.data<std::int64_t>()[row * 3000 + i]) << k;
        ASSERT_EQ(first.data<std::int64_t>()[row * k + i], same.data<std::int64_t>()[row * k + i]) << k;
      }
  }
  const Tensor a = ops.sum(x, {0}), b = alone.sum(x, {0}), c = ops.softmax(x, 0), d = alone.softmax(x, 0);
  for (std::int64_t i = 0; i < a.count(); ++i) ASSERT_EQ(a.data<float>()[i], b.data<float>()[i]);
  for (std::int64_t i = 0; i < c.count(); ++i) ASSERT_EQ(c.data<float>()[i], d.data<float>()[i]);
}

}  // namespace
