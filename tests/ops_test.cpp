// SPDX-License-Identifier: Apache-2.0
// Each op against a literal computation in double, over dense, permuted, sliced and reversed inputs.
#include "heed/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <random>

using namespace heed;

namespace {

const Context context{2, Isa::avx2};
const Ops ops(context);
std::mt19937 engine(7);

enum Layout { plain, permuted, sliced, reversed };
const Layout layouts[] = {plain, permuted, sliced, reversed};

Tensor random(const Shape& shape, Layout layout = plain, float low = -2, float high = 2) {
  auto extents = shape.vector();
  if (layout == permuted) std::reverse(extents.begin(), extents.end());
  if (layout == sliced)
    for (auto& extent : extents) extent += 2;
  Tensor made(DType::f32, Shape(extents));
  std::uniform_real_distribution<float> draw(low, high);
  for (std::int64_t i = 0; i < made.count(); ++i) made.data<float>()[i] = draw(engine);
  std::vector<int> axes;
  for (int i = shape.rank() - 1; i >= 0; --i) axes.push_back(i);
  if (layout == permuted) return made.permute(axes);
  if (layout == sliced)
    for (int i = 0; i < shape.rank(); ++i) made = made.slice(i, 1, shape[i]);
  if (layout == reversed && made.count() > 0) {
    View view = made.view();
    for (int i = 0; i < view.rank(); ++i) {
      view.data = static_cast<float*>(view.data) + (view.extent(i) - 1) * view.stride(i);
      view.strides[std::size_t(i)] *= -1;
    }
    auto keep = std::make_shared<Tensor>(made);
    return Tensor(view, keep);
  }
  return made;
}

Tensor indices(const std::vector<std::int64_t>& values, const Shape& shape) {
  Tensor made(DType::i64, shape);
  std::copy(values.begin(), values.end(), made.data<std::int64_t>());
  return made;
}

using Index = std::vector<std::int64_t>;

template <class T = float>
T at(const Tensor& x, const Index& index) {
  std::int64_t offset = 0;
  const std::size_t lead = index.size() - std::size_t(x.rank());
  for (int i = 0; i < x.rank(); ++i)
    if (x.extent(i) != 1) offset += index[lead + std::size_t(i)] * x.stride(i);
  return x.data<T>()[offset];
}

void every(const Shape& shape, const std::function<void(const Index&)>& body) {
  Index index(std::size_t(shape.rank()), 0);
  for (std::int64_t n = shape.count(); n > 0; --n) {
    body(index);
    for (int i = shape.rank() - 1; i >= 0 && ++index[std::size_t(i)] == shape[i]; --i) index[std::size_t(i)] = 0;
  }
}

/// Every element of `got` against `want(index)`.
void expect(const Tensor& got, const Shape& shape, const std::function<double(const Index&)>& want, double tolerance = 2e-6) {
  ASSERT_EQ(got.shape(), shape) << got.shape().text() << " for " << shape.text();
  every(shape, [&](const Index& index) {
    const double wanted = want(index), value = got.dtype() == DType::i64 ? double(at<std::int64_t>(got, index)) : at(got, index);
    if (std::isinf(wanted))
      EXPECT_EQ(value, wanted);
    else
      EXPECT_NEAR(value, wanted, tolerance * (1 + std::abs(wanted)));
  });
}

Index with(Index index, std::size_t axis, std::int64_t value) {
  index[axis] = value;
  return index;
}

}  // namespace

TEST(Ops, MatmulOverShapesAndStrides) {
  const std::int64_t sizes[][3] = {{1, 1, 1},       {5, 7, 3}, {6, 16, 256}, {13, 33, 300}, {1, 70, 40},
                                   {100, 130, 520}, {4, 5, 0}, {0, 3, 2},    {3, 0, 2}};
  for (const auto& s : sizes)
    for (auto x : layouts)
      for (auto y : layouts) {
        const Tensor a = random({s[0], s[2]}, x), b = random({s[2], s[1]}, y);
        expect(
            ops.matmul(a, b), {s[0], s[1]},
            [&](const Index& i) {
              double total = 0;
              const float *x = a.data<float>() + i[0] * a.stride(0), *y = b.data<float>() + i[1] * b.stride(1);
              for (std::int64_t p = 0; p < s[2]; ++p) total += double(x[p * a.stride(1)]) * y[p * b.stride(0)];
              return total;
            },
            2e-6 + 3e-7 * double(s[2]));  // terms up to 4 that cancel
      }
}

TEST(Ops, MatmulBroadcastsLeadingAxes) {
  for (auto x : layouts)
    for (auto y : layouts) {
      const Tensor a = random({2, 1, 5, 4}, x), b = random({3, 4, 7}, y);
      expect(
          ops.matmul(a, b), {2, 3, 5, 7},
          [&](const Index& i) {
            double total = 0;
            for (std::int64_t p = 0; p < 4; ++p) total += double(at(a, {i[0], 0, i[2], p})) * at(b, {i[1], p, i[3]});
            return total;
          },
          1e-5);
    }
  EXPECT_EQ(ops.matmul(random({0, 2, 3}), random({3, 4})).shape(), (Shape{0, 2, 4}));
  EXPECT_THROW(ops.matmul(random({2, 3}), random({4, 2})), Error);
  EXPECT_THROW(ops.matmul(random({2, 2, 3}), random({3, 3, 2})), Error);
  EXPECT_THROW(ops.matmul(random({3}), random({3, 2})), Error);
}

TEST(Ops, ProductsDoNotDependOnThreads) {
  const Tensor a = random({201, 600}), b = random({600, 333});
  Context one = context, four = context;
  one.threads = 1, four.threads = 4;
  const Tensor x = Ops(one).matmul(a, b), y = Ops(four).matmul(a, b);
  EXPECT_TRUE(std::equal(x.data<float>(), x.data<float>() + x.count(), y.data<float>()));
}

TEST(Ops, Linear) {
  for (auto layout : layouts) {
    const Tensor x = random({2, 5, 19}, layout), w = random({23, 19}, layout), b = random({23}, layout);
    const auto want = [&](const Index& i) {
      double total = at(b, {i[2]});
      for (std::int64_t p = 0; p < 19; ++p) total += double(at(x, {i[0], i[1], p})) * at(w, {i[2], p});
      return total;
    };
    expect(ops.linear(x, w, b), {2, 5, 23}, want, 1e-5);
    expect(
        ops.linear(x, w), {2, 5, 23}, [&](const Index& i) { return want(i) - at(b, {i[2]}); }, 1e-5);
  }
  EXPECT_THROW(ops.linear(random({2, 3}), random({4, 2})), Error);
  EXPECT_THROW(ops.linear(random({2, 3}), random({4, 3}), random({3})), Error);
}

TEST(Ops, Unary) {
  struct Case {
    Tensor (Ops::*op)(const Tensor&) const;
    double (*want)(double);
    float low;
  };
  const Case cases[] = {{&Ops::exp, [](double v) { return std::exp(v); }, -3},
                        {&Ops::log, [](double v) { return std::log(v); }, 0.1f},
                        {&Ops::sigmoid, [](double v) { return 1 / (1 + std::exp(-v)); }, -40},
                        {&Ops::tanh, [](double v) { return std::tanh(v); }, -3},
                        {&Ops::relu, [](double v) { return std::max(v, 0.0); }, -3},
                        {&Ops::silu, [](double v) { return v / (1 + std::exp(-v)); }, -9},
                        {&Ops::softplus, [](double v) { return std::log1p(std::exp(v)); }, -9},
                        {&Ops::neg, [](double v) { return -v; }, -3},
                        {&Ops::sqrt, [](double v) { return std::sqrt(v); }, 0},
                        {&Ops::rsqrt, [](double v) { return 1 / std::sqrt(v); }, 0.1f},
                        {&Ops::square, [](double v) { return v * v; }, -3},
                        {&Ops::abs, [](double v) { return std::abs(v); }, -3}};
  for (const auto& c : cases)
    for (auto layout : layouts) {
      const Tensor x = random({3, 4, 5}, layout, c.low, 4);
      expect((ops.*c.op)(x), x.shape(), [&](const Index& i) { return c.want(at(x, i)); });
      EXPECT_EQ((ops.*c.op)(random({0, 3})).shape(), (Shape{0, 3}));
    }
  const Tensor x = random({3, 4}, permuted);
  expect(ops.gelu(x), {3, 4}, [&](const Index& i) { return 0.5 * at(x, i) * (1 + std::erf(at(x, i) / std::sqrt(2.0))); });
  expect(ops.gelu(x, true), {3, 4}, [&](const Index& i) {
    const double v = at(x, i);
    return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  });
  expect(ops.scale(x, 3), {3, 4}, [&](const Index& i) { return 3.0 * at(x, i); });
  expect(ops.shift(x, 3), {3, 4}, [&](const Index& i) { return 3.0 + at(x, i); });
  EXPECT_THROW(ops.exp(indices({1}, {1})), Error);
  EXPECT_THROW(ops.exp(Tensor()), Error);
}

TEST(Ops, BinaryBroadcasts) {
  struct Case {
    Tensor (Ops::*op)(const Tensor&, const Tensor&) const;
    double (*want)(double, double);
  };
  const Case cases[] = {{&Ops::add, [](double a, double b) { return a + b; }},
                        {&Ops::sub, [](double a, double b) { return a - b; }},
                        {&Ops::mul, [](double a, double b) { return a * b; }},
                        {&Ops::div, [](double a, double b) { return a / b; }},
                        {&Ops::maximum, [](double a, double b) { return std::max(a, b); }},
                        {&Ops::minimum, [](double a, double b) { return std::min(a, b); }}};
  for (const auto& c : cases)
    for (auto x : layouts)
      for (const Shape& shape : {Shape{2, 3, 4}, Shape{3, 1}, Shape{4}, Shape{}}) {
        const Tensor a = random({2, 3, 4}, x), b = random(shape, x);
        expect((ops.*c.op)(a, b), {2, 3, 4}, [&](const Index& i) { return c.want(at(a, i), at(b, i)); });
        expect((ops.*c.op)(b, a), {2, 3, 4}, [&](const Index& i) { return c.want(at(b, i), at(a, i)); });
      }
  EXPECT_EQ(ops.add(random({0, 3}), random({1, 3})).shape(), (Shape{0, 3}));
  EXPECT_THROW(ops.add(random({2, 3}), random({2, 4})), Error);
}

TEST(Ops, Where) {
  Tensor mask(DType::boolean, {3, 4});
  for (int i = 0; i < 12; ++i) mask.data<std::uint8_t>()[i] = i % 5 < 2;
  const Tensor turned = mask.transpose(0, 1), a = random({4, 3}, permuted), b = random({2, 1, 3}, reversed);
  expect(ops.where(turned, a, b), {2, 4, 3}, [&](const Index& i) { return double(at<std::uint8_t>(turned, i) ? at(a, i) : at(b, i)); });
  EXPECT_THROW(ops.where(a, a, b), Error);
}

TEST(Ops, Reductions) {
  for (auto layout : layouts) {
    const Tensor x = random({3, 4, 5}, layout);
    const auto fold = [&](const Index& i, double from, auto step) {
      for (std::int64_t a = 0; a < 3; ++a)
        for (std::int64_t b = 0; b < 5; ++b) from = step(from, at(x, {a, i[0], b}));
      return from;
    };
    const auto plus = [](double a, double b) { return a + b; };
    expect(ops.sum(x, {0, -1}), {4}, [&](const Index& i) { return fold(i, 0, plus); });
    expect(ops.mean(x, {0, 2}), {4}, [&](const Index& i) { return fold(i, 0, plus) / 15; });
    expect(ops.max(x, {0, 2}), {4}, [&](const Index& i) { return fold(i, -9, [](double a, double b) { return std::max(a, b); }); });
    expect(ops.min(x, {0, 2}), {4}, [&](const Index& i) { return fold(i, 9, [](double a, double b) { return std::min(a, b); }); });
    EXPECT_EQ(ops.sum(x, {1}, true).shape(), (Shape{3, 1, 5}));
    expect(ops.argmax(x, 1), {3, 5}, [&](const Index& i) {
      std::int64_t best = 0;
      for (std::int64_t e = 1; e < 4; ++e) best = at(x, {i[0], e, i[1]}) > at(x, {i[0], best, i[1]}) ? e : best;
      return double(best);
    });
  }
  expect(ops.sum(random({0, 3}), {0}), {3}, [](const Index&) { return 0.0; });
  EXPECT_THROW(ops.max(random({0, 3}), {0}), Error);
  EXPECT_THROW(ops.sum(random({2, 3}), {2}), Error);
  EXPECT_THROW(ops.sum(random({2, 3}), {0, 0}), Error);
}

TEST(Ops, Softmaxes) {
  for (auto layout : layouts)
    for (int axis : {0, 1, -1}) {
      const Tensor x = random({3, 4, 5}, layout);
      const std::size_t a = std::size_t(axis < 0 ? 2 : axis);
      const auto total = [&](Index i) {
        double sum = 0;
        for (std::int64_t e = 0; e < x.extent(axis); ++e) sum += std::exp(double(at(x, with(i, a, e))));
        return sum;
      };
      expect(ops.softmax(x, axis), x.shape(), [&](const Index& i) { return std::exp(double(at(x, i))) / total(i); });
      expect(ops.log_softmax(x, axis), x.shape(), [&](const Index& i) { return at(x, i) - std::log(total(i)); });
      const Tensor kept = ops.logsumexp(x, axis, true);
      expect(kept, kept.shape(), [&](const Index& i) { return std::log(total(i)); });
      expect(ops.cumsum(x, axis), x.shape(), [&](const Index& i) {
        double sum = 0;
        for (std::int64_t e = 0; e <= i[a]; ++e) sum += at(x, with(i, a, e));
        return sum;
      });
    }
  const Tensor none = ops.full({1, 3}, -std::numeric_limits<float>::infinity());
  expect(ops.softmax(none, 1), {1, 3}, [](const Index&) { return 0.0; });
  expect(ops.logsumexp(none, 1), {1}, [](const Index&) { return -INFINITY; });
  EXPECT_EQ(ops.softmax(random({2, 0}), 1).shape(), (Shape{2, 0}));
  EXPECT_THROW(ops.softmax(none, 2), Error);
}

TEST(Ops, Norms) {
  for (auto layout : layouts) {
    const Tensor x = random({3, 4, 6}, layout), w = random({6}, layout), b = random({6}, layout);
    const auto want = [&](const Index& i, bool centred, double epsilon) {
      double mean = 0, square = 0;
      for (std::int64_t e = 0; centred && e < 6; ++e) mean += at(x, with(i, 2, e)) / 6.0;
      for (std::int64_t e = 0; e < 6; ++e) square += std::pow(at(x, with(i, 2, e)) - mean, 2) / 6;
      return (at(x, i) - mean) / std::sqrt(square + epsilon);
    };
    expect(ops.layer_norm(x, w, b), x.shape(), [&](const Index& i) { return want(i, true, 1e-5) * at(w, {i[2]}) + at(b, {i[2]}); });
    expect(ops.rms_norm(x, w), x.shape(), [&](const Index& i) { return want(i, false, 1e-6) * at(w, {i[2]}); });
    expect(ops.rms_norm(x), x.shape(), [&](const Index& i) { return want(i, false, 1e-6); });
  }
  EXPECT_THROW(ops.layer_norm(random({2, 3}), random({2})), Error);
}

TEST(Ops, Rope) {
  for (auto layout : layouts)
    for (bool interleaved : {false, true}) {
      const Tensor x = random({2, 3, 2, 7}, layout), c = random({3, 2}, layout), s = random({3, 2}, layout);
      expect(ops.rope(x, c, s, interleaved), x.shape(), [&](const Index& i) -> double {
        if (i[3] >= 4) return at(x, i);
        const std::int64_t pair = interleaved ? i[3] / 2 : i[3] % 2, second = interleaved ? i[3] % 2 : i[3] / 2;
        const std::int64_t other = interleaved ? i[3] ^ 1 : i[3] ^ 2;
        return double(at(x, i)) * at(c, {i[1], pair}) + (second ? 1 : -1) * double(at(x, with(i, 3, other))) * at(s, {i[1], pair});
      });
    }
  EXPECT_THROW(ops.rope(random({1, 2, 1, 4}), random({3, 2}), random({3, 2})), Error);
}

TEST(Ops, JoinAndPart) {
  for (auto layout : layouts) {
    const Tensor a = random({2, 3, 4}, layout), b = random({2, 0, 4}, layout), c = random({2, 2, 4}, layout);
    const Tensor joined = ops.concat({a, b, c}, 1);
    expect(
        joined, {2, 5, 4}, [&](const Index& i) { return double(i[1] < 3 ? at(a, i) : at(c, with(i, 1, i[1] - 3))); }, 0);
    const auto parts = ops.split(joined, -2, {3, 0, 2});
    expect(
        parts[2], {2, 2, 4}, [&](const Index& i) { return double(at(c, i)); }, 0);
    const Tensor twin = random({2, 3, 4}, layout);
    expect(
        ops.stack({a, twin}, 1), {2, 2, 3, 4},
        [&](const Index& i) {
          return double(at(i[1] ? twin : a, {i[0], i[2], i[3]}));
        },
        0);
    expect(
        ops.repeat(a, 1, 3), {2, 9, 4}, [&](const Index& i) { return double(at(a, with(i, 1, i[1] / 3))); }, 0);
    expect(
        ops.pad(a, 1, 1, 2, 5), {2, 6, 4}, [&](const Index& i) { return i[1] < 1 || i[1] > 3 ? 5.0 : at(a, with(i, 1, i[1] - 1)); }, 0);
  }
  EXPECT_EQ(ops.repeat(random({2, 3}), 0, 0).shape(), (Shape{0, 3}));
  EXPECT_THROW(ops.concat({random({2, 3}), random({3, 2})}, 0), Error);
  EXPECT_THROW(ops.concat({}, 0), Error);
  EXPECT_THROW(ops.split(random({5}), 0, {2, 2}), Error);
  EXPECT_THROW(ops.pad(random({5}), 0, -1, 0), Error);
}

TEST(Ops, Indexing) {
  for (auto layout : layouts) {
    const Tensor x = random({2, 4, 3}, layout), table = random({5, 3}, layout);
    const Tensor index = indices({3, 0, 1, 1, 2, 0, 0, 1, 2, 3, 3, 3}, {3, 2, 2}).transpose(0, 2);
    expect(
        ops.gather(x, 1, index), {2, 2, 3}, [&](const Index& i) { return double(at(x, with(i, 1, at<std::int64_t>(index, i)))); }, 0);
    const Tensor few = indices({2, 2, 0}, {3});
    expect(
        ops.index_select(x, 1, few), {2, 3, 3}, [&](const Index& i) { return double(at(x, with(i, 1, few.data<std::int64_t>()[i[1]]))); },
        0);
    const Tensor words = indices({4, 0, 1, 2, 3, 3}, {2, 3}).transpose(0, 1);
    expect(
        ops.embedding(table, words), {3, 2, 3},
        [&](const Index& i) {
          return double(at(table, {at<std::int64_t>(words, {i[0], i[1]}), i[2]}));
        },
        0);
    expect(
        ops.one_hot(words, 5), {3, 2, 5},
        [&](const Index& i) {
          return at<std::int64_t>(words, {i[0], i[1]}) == i[2] ? 1.0 : 0.0;
        },
        0);
  }
  expect(
      ops.arange(7, 0, -3), {3}, [](const Index& i) { return 7.0 - 3 * double(i[0]); }, 0);
  EXPECT_EQ(ops.arange(3, 3).count(), 0);
  EXPECT_THROW(ops.index_select(random({2}), 0, indices({2}, {1})), Error);
  EXPECT_THROW(ops.embedding(random({2, 3}), indices({-1}, {1})), Error);
}

TEST(Ops, Ranking) {
  for (auto layout : layouts)
    for (bool largest : {true, false}) {
      Tensor x = random({2, 9, 3}, layout);
      every(x.shape(), [&](const Index& i) {  // ties
        float& value = x.data<float>()[i[0] * x.stride(0) + i[1] * x.stride(1) + i[2] * x.stride(2)];
        value = std::round(value);
      });
      const auto order = [&](const Index& i) {
        std::vector<std::int64_t> all(9);
        std::iota(all.begin(), all.end(), 0);
        std::stable_sort(all.begin(), all.end(), [&](std::int64_t a, std::int64_t b) {
          const float p = at(x, with(i, 1, a)), q = at(x, with(i, 1, b));
          return largest ? p > q : p < q;
        });
        return all[std::size_t(i[1])];
      };
      const auto [values, index] = ops.topk(x, 4, 1, largest);
      expect(
          index, {2, 4, 3}, [&](const Index& i) { return double(order(i)); }, 0);
      expect(
          values, {2, 4, 3}, [&](const Index& i) { return double(at(x, with(i, 1, order(i)))); }, 0);
      expect(
          ops.argsort(x, 1, largest), {2, 9, 3}, [&](const Index& i) { return double(order(i)); }, 0);
    }
  EXPECT_THROW(ops.topk(random({3}), 4, 0), Error);
}
