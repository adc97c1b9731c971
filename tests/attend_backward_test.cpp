// SPDX-License-Identifier: Apache-2.0
// attend_backward() against derivatives in double, and those against finite differences.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "attend_cases.h"

namespace heed {
namespace {

using namespace attend_cases;

/// A gradient and the sum of the absolute values of its terms.
struct Sum {
  std::vector<double> value, mass;
  explicit Sum(std::int64_t n = 0) : value(std::size_t(n)), mass(std::size_t(n)) {}
  void add(std::int64_t at, double x, double size) { value[std::size_t(at)] += x, mass[std::size_t(at)] += std::abs(size); }
};
struct Derivatives {
  Sum q, k, v, bias, slopes, sink;
};

std::int64_t dense(const Shape& s, std::initializer_list<std::int64_t> index) {
  std::int64_t at = 0;
  int axis = 0;
  for (const std::int64_t i : index) at = at * s[axis++] + i;
  return at;
}
std::int64_t stretched(const Shape& s, std::array<std::int64_t, 4> index) {
  std::int64_t at = 0;
  for (int a = 0; a < s.rank(); ++a) at = at * s[a] + (s[a] > 1 ? index[std::size_t(a + 4 - s.rank())] : 0);
  return at;
}

Derivatives derivatives(const Case& c, const Tensor& dout) {
  const AttendOptions& o = c.options;
  const Result r = reference(c);
  const std::int64_t B = c.q.extent(0), N = c.q.extent(1), H = c.q.extent(2), D = c.q.extent(3), M = c.k.extent(1), G = c.k.extent(2),
                     E = c.v.extent(3);
  Derivatives d{Sum(c.q.count()), Sum(c.k.count()), Sum(c.v.count()), Sum(o.bias ? o.bias->count() : 0), Sum(H), Sum(H)};
  const double scale = o.scale ? *o.scale : 1 / std::sqrt(double(D));
  const bool softmax = o.weighting == Weighting::softmax || o.weighting == Weighting::softmax_plus_one;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < N; ++i) {
        const std::int64_t g = h / (H / G), nk = o.key_lengths ? std::int64_t(get(*o.key_lengths, {b})) : M,
                           nq = o.query_lengths ? std::int64_t(get(*o.query_lengths, {b})) : N, p = i + nk - nq;
        const double* w = r.weights.data() + ((b * H + h) * N + i) * M;
        std::vector<double> dw(std::size_t(M), 0.0), size(std::size_t(M), 0.0);
        double delta = 0, delta_size = 0;
        for (std::int64_t j = 0; j < M; ++j) {
          for (std::int64_t e = 0; e < E; ++e) {
            const double y = get(dout, {b, i, h, e}), x = get(c.v, {b, j, g, e});
            dw[std::size_t(j)] += y * x, size[std::size_t(j)] += std::abs(y * x);
            if (w[j] != 0) d.v.add(dense(c.v.shape(), {b, j, g, e}), w[j] * y, w[j] * y);
          }
          delta += w[j] * dw[std::size_t(j)], delta_size += w[j] * size[std::size_t(j)];
        }
        if (o.sink) {
          const double weight = std::exp(double(get(*o.sink, {h})) - r.lse[std::size_t((b * H + h) * N + i)]);
          if (i < nq) d.sink.add(h, -weight * delta, weight * delta_size);
        }
        for (std::int64_t j = 0; j < M; ++j) {
          if (w[j] == 0) continue;
          double raw = 0, raw_size = 0;
          for (std::int64_t x = 0; x < D; ++x) raw += double(get(c.q, {b, i, h, x})) * get(c.k, {b, j, g, x});
          raw *= scale;
          double ds = softmax                             ? w[j] * (dw[std::size_t(j)] - delta)
                      : o.weighting == Weighting::sigmoid ? w[j] * (1 - w[j]) * dw[std::size_t(j)]
                                                          : dw[std::size_t(j)] / double(nk);
          raw_size = softmax                             ? w[j] * (size[std::size_t(j)] + delta_size)
                     : o.weighting == Weighting::sigmoid ? w[j] * size[std::size_t(j)]
                                                         : size[std::size_t(j)] / double(nk);
          if (o.bias) d.bias.add(stretched(o.bias->shape, {b, h, i, j}), ds, raw_size);
          d.slopes.add(h, -ds * double(std::abs(p - j)), raw_size * double(std::abs(p - j)));
          if (o.softcap > 0) {
            const double t = std::tanh(raw / o.softcap);
            ds *= 1 - t * t;
          }
          for (std::int64_t x = 0; x < D; ++x) {
            const double key = get(c.k, {b, j, g, x}), query = get(c.q, {b, i, h, x});
            d.q.add(dense(c.q.shape(), {b, i, h, x}), scale * ds * key, scale * raw_size * key);
            d.k.add(dense(c.k.shape(), {b, j, g, x}), scale * ds * query, scale * raw_size * query);
          }
        }
      }
  return d;
}

double loss(const Case& c, const Tensor& dout) {
  const Result r = reference(c);
  double sum = 0;
  std::size_t at = 0;
  const Shape& s = dout.shape();
  for (std::int64_t b = 0; b < s[0]; ++b)
    for (std::int64_t i = 0; i < s[1]; ++i)
      for (std::int64_t h = 0; h < s[2]; ++h)
        for (std::int64_t e = 0; e < s[3]; ++e) sum += r.out[at++] * double(get(dout, {b, i, h, e}));
  return sum;
}

/// Scores and sums in f32: eps times the mass of the terms, times what a relative error of a weight of order 64 eps makes of it.
void expect_gradient(const char* what, const Tensor& got, const Sum& want, double length) {
  const double tolerance = 1.2e-7 * (64 + 32 * std::sqrt(length));
  for (std::int64_t n = 0; n < got.count(); ++n) {
    const double x = got.to(DType::f32).data<float>()[n], y = want.value[std::size_t(n)],
                 most = tolerance * (1 + want.mass[std::size_t(n)]);
    ASSERT_LE(std::abs(x - y), most) << what << " at " << n << ": " << x << ", expected " << y;
  }
}

struct Gradients {
  Tensor q, k, v, bias, slopes, sink;
  AttendGradients views;
  explicit Gradients(const Case& c)
      : q(spoiled(DType::f32, c.q.shape())), k(spoiled(DType::f32, c.k.shape())), v(spoiled(DType::f32, c.v.shape())) {
    views.q = q.view(), views.k = k.view(), views.v = v.view();
    const std::int64_t H = c.q.extent(2);
    if (c.options.bias) views.bias = (bias = spoiled(DType::f32, c.options.bias->shape)).view();
    if (c.options.alibi_slopes) views.alibi_slopes = (slopes = spoiled(DType::f32, Shape{H})).view();
    if (c.options.sink) views.sink = (sink = spoiled(DType::f32, Shape{H})).view();
  }
  std::vector<Tensor> all() const { return {q, k, v, bias, slopes, sink}; }
};

Gradients backward(const Case& c, const Tensor& dout, Isa isa, int threads) {
  const std::int64_t B = c.q.extent(0), N = c.q.extent(1), H = c.q.extent(2), E = c.v.extent(3);
  const bool softmax = c.options.weighting == Weighting::softmax || c.options.weighting == Weighting::softmax_plus_one;
  const Tensor out(DType::f32, Shape{B, N, H, E}), lse(DType::f32, Shape{B, H, N});
  AttendExtras extras;
  if (softmax) extras.lse = lse.view();
  Context context;
  context.isa = isa, context.threads = threads, context.precision = Precision::strict;
  attend(c.q, c.k, c.v, out, c.options, extras, context);
  Gradients result(c);
  attend_backward(c.q, c.k, c.v, out, lse, dout, result.views, c.options, context);
  return result;
}

void compare(const Case& c, const Tensor& dout) {
  const Derivatives want = derivatives(c, dout);
  const double length = double(c.q.extent(1) + c.k.extent(1) + c.q.extent(3)) * double(c.q.extent(2));
  for (const Isa isa : isas()) {
    if (isa == Isa::amx_emulated) continue;  // strict: the same loops as avx512-bf16-emulated
    SCOPED_TRACE(name_of(isa));
    const Gradients got = backward(c, dout, isa, 1), again = backward(c, dout, isa, 2);
    expect_gradient("q", got.q, want.q, length);
    expect_gradient("k", got.k, want.k, length);
    expect_gradient("v", got.v, want.v, length);
    if (c.options.bias) expect_gradient("bias", got.bias, want.bias, length);
    if (c.options.alibi_slopes) expect_gradient("alibi_slopes", got.slopes, want.slopes, length);
    if (c.options.sink) expect_gradient("sink", got.sink, want.sink, length);
    for (std::size_t t = 0; t < got.all().size(); ++t) {
      const Tensor a = got.all()[t], b = again.all()[t];
      const std::size_t bytes = a.defined() ? std::size_t(a.count()) * sizeof(float) : 0;
      EXPECT_TRUE(bytes == 0 || std::memcmp(a.view().data, b.view().data, bytes) == 0) << "threads change gradient " << t;
    }
  }
}

TEST(AttendBackward, AgreesWithDerivativesInDouble) {
  for (unsigned seed = 1000; seed < 1040 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(seed);
    const Case c = random_case(r);
    compare(c, r.floats({c.q.extent(0), c.q.extent(1), c.q.extent(2), c.v.extent(3)}));
  }
}

/// Where all keys have one value the weights do not matter, however sharp: what f32 leaves of p (g - delta) cancels in a row.
TEST(AttendBackward, EqualValuesGiveQueriesAndKeysNoGradient) {
  Random r(5);
  for (const float sharp : {0.1f, 1.0f, 10.0f}) {
    Case c{r.floats({2, 37, 4, 24}), r.floats({2, 53, 2, 24}), r.floats({1, 1, 2, 40}).broadcast({2, 53, 2, 40}).dense(), {}, {}};
    c.options.scale = sharp;
    const Tensor dout = r.floats({2, 37, 4, 40});
    for (const Isa isa : isas()) {
      const Gradients got = backward(c, dout, isa, 2);
      for (const Tensor& t : {got.q, got.k})
        for (std::int64_t n = 0; n < t.count(); ++n) ASSERT_LE(std::abs(t.data<float>()[n]), 1e-10f) << name_of(isa) << " " << sharp;
    }
  }
}

/// As a ring has them: the gradients of each part with out and lse of all.
TEST(AttendBackward, PartsOfTheKeysAddUp) {
  Random r(6);
  const Tensor q = r.floats({1, 9, 2, 8}), k = r.floats({1, 40, 2, 8}), v = r.floats({1, 40, 2, 5}), dout = r.floats({1, 9, 2, 5});
  const Tensor out(DType::f32, {1, 9, 2, 5}), lse(DType::f32, {1, 2, 9});
  AttendExtras extras;
  extras.lse = lse.view();
  attend(q, k, v, out, {}, extras);
  const auto of = [&](std::int64_t begin, std::int64_t count, bool part) {
    const Tensor keys = k.slice(1, begin, count), values = v.slice(1, begin, count);
    Tensor dq(DType::f32, q.shape()), dk(DType::f32, keys.shape()), dv(DType::f32, values.shape());
    attend_backward(q, keys, values, out, lse, dout, {.q = dq.view(), .k = dk.view(), .v = dv.view(), .part = part});
    return std::vector<Tensor>{dq, dk, dv};
  };
  const auto whole = of(0, 40, false), left = of(0, 15, true), right = of(15, 25, true);
  for (std::int64_t n = 0; n < q.count(); ++n)
    EXPECT_NEAR(left[0].data<float>()[n] + right[0].data<float>()[n], whole[0].data<float>()[n], 1e-5);
  for (const std::size_t i : {1u, 2u})
    for (std::int64_t n = 0, first = left[i].count(); n < whole[i].count(); ++n)
      EXPECT_NEAR(n < first ? left[i].data<float>()[n] : right[i].data<float>()[n - first], whole[i].data<float>()[n], 1e-5);
}

TEST(AttendBackward, LongCallsCrossTiles) {
  Random r(3);
  for (const bool causal : {false, true}) {
    Case c{r.floats({1, 210, 2, 24}), r.floats({1, 530, 1, 24}), r.floats({1, 530, 1, 40}), {}, {}};
    c.options.causal = causal;
    c.options.bias = c.keep(r.floats({1, 1, 530}));
    compare(c, r.floats({1, 210, 2, 40}));
  }
}

/// Central differences of the double loop along random directions: steps of 2^-9 err by 2^-18 of the third derivative.
TEST(AttendBackward, DerivativesAreSlopes) {
  for (const auto weighting : {Weighting::softmax, Weighting::sigmoid, Weighting::softmax_plus_one}) {
    Random r(4);
    Case c{r.floats({1, 9, 4, 8}), r.floats({1, 12, 2, 8}), r.floats({1, 12, 2, 5}), {}, {}};
    c.kept.reserve(3);
    c.options.weighting = weighting;
    c.options.causal = true, c.options.softcap = 3;
    c.options.bias = c.keep(r.floats({4, 1, 12}));
    c.options.alibi_slopes = c.keep(r.floats({4}));
    if (weighting == Weighting::softmax) c.options.sink = c.keep(r.floats({4}));
    const Tensor dout = r.floats({1, 9, 4, 5});
    const Derivatives d = derivatives(c, dout);
    const auto check = [&](const char* what, const Tensor& x, const Sum& gradient) {
      const Tensor way = r.floats(x.shape());
      std::vector<float> kept(x.data<float>(), x.data<float>() + x.count());
      const auto at = [&](float step) {
        for (std::int64_t n = 0; n < x.count(); ++n) x.data<float>()[n] = kept[std::size_t(n)] + step * way.data<float>()[n];
        return loss(c, dout);
      };
      const double slope = (at(0x1p-9f) - at(-0x1p-9f)) / 0x1p-8;
      at(0);
      double want = 0;
      for (std::int64_t n = 0; n < x.count(); ++n) want += gradient.value[std::size_t(n)] * double(way.data<float>()[n]);
      EXPECT_NEAR(slope, want, 2e-3 * (1 + std::abs(want))) << what;
    };
    check("q", c.q, d.q);
    check("k", c.k, d.k);
    check("v", c.v, d.v);
    check("bias", c.kept[0], d.bias);
    check("alibi_slopes", c.kept[1], d.slopes);
    if (c.options.sink) check("sink", c.kept[2], d.sink);
  }
}

TEST(AttendBackward, SaysWhatIsWrong) {
  Random r(5);
  const Tensor q = r.floats({1, 4, 2, 8}), k = r.floats({1, 6, 1, 8}), v = r.floats({1, 6, 1, 5}), out = r.floats({1, 4, 2, 5}),
               lse = r.floats({1, 2, 4});
  const auto starts = [&](const std::string& argument, const View& out, const View& lse, const View& dout, const AttendGradients& to) {
    try {
      attend_backward(q, k, v, out, lse, dout, to);
      FAIL() << "no error for " << argument;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).substr(0, argument.size() + 1), argument + ":") << e.what();
    }
  };
  const Tensor dq = Tensor::zeros(DType::f32, {1, 4, 2, 8});
  AttendGradients to;
  to.q = dq.view();
  starts("out", r.floats({1, 4, 2, 6}), lse, out, to);
  starts("lse", out, r.floats({1, 4, 2}), out, to);
  starts("out_gradient", out, lse, r.floats({1, 4, 1, 5}), to);
  to.sink = Tensor::zeros(DType::f32, {2}).view();
  starts("gradients.sink", out, lse, out, to);
  to = {}, to.k = dq.view();
  starts("gradients.k", out, lse, out, to);
}

}  // namespace
}  // namespace heed
