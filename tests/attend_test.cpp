// SPDX-License-Identifier: Apache-2.0
// attend() against a double loop in double, over random shapes, strides and options.
#include "heed/attend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "attend_cases.h"
#include "base/pool.h"
#include "kernel/table.h"

namespace heed {
namespace {

using namespace attend_cases;

/// |got - want| <= tolerance (1 + |want|) + relative * mass.
void expect_near(const char* what, const View& got, const std::vector<double>& want, double tolerance, const std::vector<double>& mass = {},
                 double relative = 0) {
  std::int64_t at = 0;
  const Shape& s = got.shape;
  const std::int64_t last = s.rank() > 3 ? s[3] : 1;
  for (std::int64_t a = 0; a < s[0]; ++a)
    for (std::int64_t b = 0; b < s[1]; ++b)
      for (std::int64_t c = 0; c < s[2]; ++c)
        for (std::int64_t d = 0; d < last; ++d, ++at) {
          const float x = s.rank() > 3 ? get(got, {a, b, c, d}) : get(got, {a, b, c});
          const double y = want[std::size_t(at)];
          const double more = mass.empty() ? 0 : relative * mass[std::size_t(at)];
          if (y == -inf ? x == -inf : std::abs(x - y) <= tolerance * (1 + std::abs(y)) + more) continue;
          FAIL() << what << " at " << a << ' ' << b << ' ' << c << ' ' << d << ": " << x << ", expected " << y << " within " << tolerance
                 << " and " << more;
        }
}

/// How far results may lie from a double loop over the same (rounded) inputs.
///   Scores and sums in f32: eps times their size (order 10 with options) times the root of the number of terms, as errors are random.
///   Fast products of 16-bit inputs: a product of two bf16 is exact in f32, so scores are as good; exp2 of degree 3 is good to
///   7.5e-5, and a weight rounds to bf16 within 2^-8 of itself, so `out` moves by at most (2^-8 + 1e-4) times the sum of
///   |weight value|, and the normalising sum, log-sum-exp and weights by 1e-4. Then `out` itself rounds: 2^-8 (bf16), 2^-11 (f16).
struct Bounds {
  double f32, sums, weights, rounding;
};
Bounds bounds(const Case& c, DType out, bool fast, bool pairs) {
  const double eps = 1.2e-7, length = double(c.q.extent(3) + c.k.extent(1) + c.q.extent(1));
  const bool softmax = c.options.weighting == Weighting::softmax || c.options.weighting == Weighting::softmax_plus_one;
  return {eps * (64 + 32 * std::sqrt(length)), fast && softmax ? 1e-4 : 0, fast ? 1e-4 + (pairs ? 1.0 / 256 : 0) : 0,
          out == DType::bf16  ? 1.0 / 256
          : out == DType::f16 ? 1.0 / 2048
                              : 0};
}

void compare(const Case& c, const std::vector<Isa>& isas, bool f32_out, bool with_second_pass, Precision precision = Precision::automatic) {
  const std::int64_t B = c.q.extent(0), N = c.q.extent(1), H = c.q.extent(2), M = c.k.extent(1), E = c.v.extent(3);
  const bool softmax = c.options.weighting == Weighting::softmax || c.options.weighting == Weighting::softmax_plus_one;
  const Result want = reference(c);
  const DType dtype = f32_out ? DType::f32 : c.q.dtype();
  std::vector<Tensor> first;
  for (std::size_t run = 0; run < 2 * isas.size(); ++run) {
    const int threads = 1 + int(run % 2);
    std::vector<Tensor> outs{spoiled(dtype, Shape{B, H, N, E}).permute({0, 2, 1, 3}), spoiled(DType::f32, Shape{B, H, N}),
                             spoiled(DType::f32, Shape{B, H, N}), spoiled(DType::f32, Shape{B, H, M}),
                             spoiled(DType::f32, Shape{B, H, N, M})};
    AttendExtras extras;
    if (softmax) extras.lse = outs[1].view(), extras.row_max = outs[2].view();
    if (with_second_pass) extras.column_sums = outs[3].view(), extras.weights = outs[4].view();
    Context context;
    context.threads = threads, context.isa = isas[run / 2], context.precision = precision;
    SCOPED_TRACE(why(c.q, c.k, c.v, c.options, extras, context));
    attend(c.q, c.k, c.v, outs[0], c.options, extras, context);
    if (threads == 1) {
      const bool fast = precision != Precision::strict && c.q.dtype() != DType::f32;
      const Bounds b = bounds(c, dtype, fast, c.q.dtype() == DType::bf16 && kernel::pairs_of(context.isa));
      first = outs;
      expect_near("out", outs[0], want.out, b.f32 + b.rounding, want.mass, b.weights);
      if (softmax) expect_near("lse", outs[1], want.lse, b.f32 + b.sums), expect_near("row_max", outs[2], want.row_max, b.f32);
      if (with_second_pass)
        expect_near("column_sums", outs[3], want.columns, b.f32 + b.sums), expect_near("weights", outs[4], want.weights, b.f32 + b.sums);
    } else {
      for (std::size_t t = 0; t < outs.size(); ++t) {
        const std::size_t bytes = std::size_t(outs[t].count()) * size_of(outs[t].dtype());
        const bool same = bytes == 0 || std::memcmp(first[t].view().data, outs[t].view().data, bytes) == 0;
        EXPECT_TRUE(same) << "threads change output " << t;
      }
    }
  }
}

TEST(Attend, AgreesWithADoubleLoop) {
  for (unsigned seed = 0; seed < 150 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(seed);
    const Case c = random_case(r);
    compare(c, isas(), r.chance(50), r.chance(50), r.chance(30) ? Precision::strict : Precision::automatic);
  }
}

TEST(Attend, LongCallsCrossTiles) {
  Random r(7);
  for (const bool causal : {false, true}) {
    Case c{r.floats({1, 200, 2, 24}), r.floats({1, 530, 1, 24}), r.floats({1, 530, 1, 40}), {}, {}};
    c.options.causal = causal;
    compare(c, isas(), true, true);
    Case b{c.q.to(DType::bf16), c.k.to(DType::bf16), c.v.to(DType::bf16), c.options, {}};
    compare(b, isas(), false, false);
  }
}

TEST(Attend, FastRoundsF32ToPairs) {
  Random r(14);
  const Case c{r.floats({1, 50, 2, 24}, DType::bf16), r.floats({1, 70, 1, 24}, DType::bf16), r.floats({1, 70, 1, 40}, DType::bf16), {}, {}};
  const Tensor want = spoiled(DType::f32, Shape{1, 50, 2, 40}), got = spoiled(DType::f32, Shape{1, 50, 2, 40});
  for (const Isa isa : isas()) {
    Context context;
    context.isa = isa, context.precision = Precision::fast;
    attend(c.q, c.k, c.v, want, {}, {}, context);
    attend(c.q.to(DType::f32), c.k.to(DType::f32), c.v.to(DType::f32), got, {}, {}, context);
    for (std::int64_t i = 0; i < want.count() && kernel::pairs_of(isa); ++i) EXPECT_EQ(got.data<float>()[i], want.data<float>()[i]);
  }
}

TEST(Attend, FirstKeysMayLieInBlocksLeftOut) {
  Random r(17);
  for (int n = 0; n < 20; ++n) {
    Case c{r.floats({1, 120, 1, 16}), r.floats({1, 200, 1, 16}), r.floats({1, 200, 1, 16}), {}, {}};
    c.kept.reserve(1);
    c.options.causal = true, c.options.window_left = r.whole(0, 30), c.options.first_keys = r.whole(1, 90);
    const int size = r.whole(5, 40);
    c.options.blocks = BlockMask{c.keep(r.bools({(120 + 15) / 16, (200 + size - 1) / size}, 50)), 16, size};
    compare(c, {default_isa()}, true, false);
  }
}

TEST(Attend, ThePlanIsToldOnRequest) {
  static std::string told;
  Random r(18);
  const Tensor q = r.floats({1, 40, 2, 8}), out(DType::f32, Shape{1, 40, 2, 8});
  set_plan_log([](const std::string& plan) { told = plan; });
  attend(q, q, q, out);
  set_plan_log(nullptr);
  EXPECT_EQ(told, why(q, q, q));
  told.clear();
  attend(q, q, q, out);
  EXPECT_EQ(told, "");
}

TEST(Attend, FewQueriesSplitTheKeys) {
  Random r(15);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const int share : {1, 3, 4, 7}) {
      Case c{r.floats({1, 2, 2 * share, 72}, dtype), r.floats({1, 5000, 2, 72}, dtype), r.floats({1, 5000, 2, 40}, dtype), {}, {}};
      c.options.causal = true;
      compare(c, isas(), false, false);
    }
}

/// Every size of group, widths that fill no vector, all options, heads side by side and apart.
TEST(Attend, FewQueriesOfEveryShape) {
  for (int n = 0; n < 60 && !::testing::Test::HasFailure(); ++n) {
    SCOPED_TRACE("case " + std::to_string(n));
    Random r(100 + unsigned(n));
    const DType dtype = std::array{DType::f32, DType::bf16, DType::bf16, DType::f16}[std::size_t(n % 4)];
    const int share = 1 + n % 9, G = r.whole(1, 3), N = r.whole(1, 32 / share), H = G * share;
    const int D = std::array{64, 33, 128, 80, 7, 100, 16, 31}[std::size_t(r.whole(0, 7))];
    const int E = std::array{64, 33, 128, 80, 7, 100, 16, 31}[std::size_t(r.whole(0, 7))];
    const int M = r.chance(30) ? r.whole(600, 1400) : r.whole(1, 300);
    const auto rows = [&](int width) {  // heads of a key side by side, apart, or with more between keys
      const Tensor whole = r.floats({1, M, G + n % 3, width}, dtype);
      return n % 2 ? whole.slice(2, 0, G) : r.floats({1, G, M, width}, dtype).permute({0, 2, 1, 3});
    };
    Case c{r.floats({1, N, H, D}, dtype), rows(D), rows(E), {}, {}};
    c.kept.reserve(10);
    AttendOptions& o = c.options;
    o.weighting = n % 5 ? Weighting::softmax : Weighting(r.whole(1, 3));
    o.causal = r.chance(50);
    if (r.chance(30)) o.window_left = r.whole(0, M), o.first_keys = r.whole(0, 20);
    if (r.chance(30)) o.softcap = 2;
    if (r.chance(30)) o.bias = c.keep(r.floats(r.part({1, H, N, M})));
    if (r.chance(30)) o.mask = c.keep(r.bools(r.part({1, H, N, M}), 70));
    if (r.chance(30)) o.alibi_slopes = c.keep(r.floats(Shape{H}));
    if (o.weighting == Weighting::softmax && r.chance(50)) o.sink = c.keep(r.floats(Shape{H}));
    if (r.chance(30)) o.key_lengths = c.keep(r.lengths(1, M));
    if (r.chance(20)) {
      const int columns = r.whole(1, 200);
      o.blocks = BlockMask{c.keep(r.bools({H, 1, (M + columns - 1) / columns}, 50)), 64, columns};
    }
    compare(c, isas(), r.chance(50), false, r.chance(20) ? Precision::strict : Precision::automatic);
  }
}

TEST(Attend, ValuesThatAreNotFiniteReachTheirRowsOnly) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16})
    for (const Isa isa : isas()) {
      Random r(19);
      const Tensor q = r.floats({1, 2, 3, 40}, dtype), k = r.floats({1, 300, 1, 40}, dtype), v = r.floats({1, 300, 1, 40});
      v.data<float>()[299 * 40 + 3] = std::numeric_limits<float>::infinity();  // only the second query sees it
      const Tensor out = spoiled(DType::f32, Shape{1, 2, 3, 40});
      AttendOptions o;
      o.causal = true;
      Context context;
      context.isa = isa;
      SCOPED_TRACE(why(q, k, v.to(dtype), o, {}, context));
      attend(q, k, v.to(dtype), out, o, {}, context);
      for (int i = 0; i < 2; ++i)
        for (int h = 0; h < 3; ++h)
          for (int e = 0; e < 40; ++e)
            EXPECT_EQ(std::isinf(out.data<float>()[(i * 3 + h) * 40 + e]), i == 1 && e == 3) << i << ' ' << h << ' ' << e;
    }
}

TEST(Attend, LatentHeadsAreWide) {
  Random r(8);
  const Case c{r.floats({1, 3, 4, 576}), r.floats({1, 40, 1, 576}), r.floats({1, 40, 1, 512}), {}, {}};
  compare(c, {default_isa()}, true, false);
}

TEST(Attend, NothingToSeeGivesZeros) {
  Random r(9);
  Case c{r.floats({1, 9, 2, 8}), r.floats({1, 5, 2, 8}), r.floats({1, 5, 2, 8}), {}, {}};
  c.options.mask = c.keep(r.bools({1, 1, 1, 1}, 0));
  compare(c, {default_isa()}, true, true);
  c.options.mask.reset();
  c.options.causal = true;  // the first four queries stand before the first key
  compare(c, {default_isa()}, true, true);
}

TEST(Attend, NothingAskedOrNothingThere) {
  Random r(6);
  for (const auto& [batches, queries, keys] : {std::array{0, 3, 5}, std::array{1, 0, 5}, std::array{1, 3, 0}, std::array{1, 0, 0}})
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Case c{r.floats({batches, queries, 4, 8}, dtype),
                   r.floats({batches, keys, 2, 8}, dtype),
                   r.floats({batches, keys, 2, 8}, dtype),
                   {},
                   {}};
      compare(c, isas(), true, false);
    }
}

TEST(Attend, NaNStaysInItsRow) {
  for (const std::int64_t n : {3, 40}) {
    Random r(10);
    const Tensor q = r.floats({1, n, 1, 16}), k = r.floats({1, 300, 1, 16}), v = r.floats({1, 300, 1, 20});
    q.data<float>()[2 * 16 + 5] = std::nanf("");
    for (int e = 0; e < 20; ++e) v.data<float>()[299 * 20 + e] = std::nanf("");  // only the last query sees it
    const Tensor out = spoiled(DType::f32, Shape{1, n, 1, 20});
    AttendOptions o;
    o.causal = true;
    attend(q, k, v, out, o);
    for (std::int64_t i = 0; i < n; ++i)
      for (int e = 0; e < 20; ++e) EXPECT_EQ(std::isnan(out.data<float>()[i * 20 + e]), i == 2 || i == n - 1) << i;
  }
}

TEST(Attend, InfiniteScoresOfMasksAreGuarded) {
  Random r(11);
  const Tensor q = r.floats({1, 10, 1, 4}), k = r.floats({1, 10, 1, 4}), v = r.floats({1, 10, 1, 4});
  const Tensor bias(DType::f32, Shape{1});
  bias.data<float>()[0] = -std::numeric_limits<float>::infinity();
  const Tensor out = spoiled(DType::f32, Shape{1, 10, 1, 4});
  AttendOptions o;
  o.bias = bias.view();
  attend(q, k, v, out, o);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(out.data<float>()[i], 0.0f);
}

template <class F>
std::string message(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Attend, SaysWhatIsWrong) {
  Random r(12);
  const Tensor q = r.floats({1, 4, 2, 8}), k = r.floats({1, 6, 1, 8}), v = r.floats({1, 6, 1, 5}),
               out = Tensor::zeros(DType::f32, {1, 4, 2, 5});
  const auto starts = [&](const std::string& argument, const View& q, const View& k, const View& v, const View& out,
                          const AttendOptions& o = {}, const AttendExtras& e = {}, const Context& c = {}) {
    const std::string text = message([&] { attend(q, k, v, out, o, e, c); });
    EXPECT_EQ(text.substr(0, argument.size() + 1), argument + ":") << text;
  };
  starts("q", r.floats({4, 2, 8}), k, v, out);
  starts("q", Tensor::zeros(DType::i64, {1, 4, 2, 8}), k, v, out);
  starts("k", q, r.floats({1, 6, 1, 7}), v, out);
  starts("k", r.floats({1, 4, 3, 8}), r.floats({1, 6, 2, 8}), r.floats({1, 6, 2, 5}), out);
  starts("k", q, k.to(DType::bf16), v, out);
  starts("v", q, k, r.floats({1, 7, 1, 5}), out);
  starts("out", q, k, v, Tensor::zeros(DType::f32, {1, 4, 2, 6}));
  starts("out", q, k, v, Tensor::zeros(DType::bf16, {1, 4, 2, 5}));
  AttendOptions o;
  o.scale = std::nanf("");
  starts("scale", q, k, v, out, o);
  o = {}, o.softcap = -1;
  starts("softcap", q, k, v, out, o);
  o = {}, o.window_left = -2;
  starts("window_left", q, k, v, out, o);
  const Tensor sink = r.floats({2});
  o = {}, o.sink = sink.view(), o.weighting = Weighting::sigmoid;
  starts("sink", q, k, v, out, o);
  o.weighting = Weighting::softmax_plus_one;
  starts("sink", q, k, v, out, o);
  const Tensor bias = r.floats({3, 6});
  o = {}, o.bias = bias.view();
  starts("bias", q, k, v, out, o);
  const Tensor lengths(DType::i64, Shape{1});
  lengths.data<std::int64_t>()[0] = 7;
  o = {}, o.key_lengths = lengths.view();
  starts("key_lengths", q, k, v, out, o);
  o = {}, o.weighting = Weighting::relu;
  const Tensor lse = Tensor::zeros(DType::f32, {1, 2, 4});
  AttendExtras e;
  e.lse = lse.view();
  starts("lse", q, k, v, out, o, e);
  Context c;
  c.threads = -1;
  starts("context.threads", q, k, v, out, {}, {}, c);
  c = {}, c.precision = Precision::int8;
  starts("context.precision", q, k, v, out, {}, {}, c);
  o = {}, o.dilation = 0;
  starts("dilation", q, k, v, out, o);
  for (std::int64_t i = 0; i < out.count(); ++i) EXPECT_EQ(out.data<float>()[i], 0.0f);
}

TEST(Attend, RaggedSequencesStandAlone) {
  Random r(16);
  const std::vector<std::int64_t> queries{0, 5, 5, 40, 41, 60, 64, 70, 71, 90}, keys{0, 7, 9, 44, 44, 90, 94, 100, 140, 170};
  const auto offsets = [](const std::vector<std::int64_t>& from) {
    const Tensor t(DType::i64, Shape{std::int64_t(from.size())});
    std::copy(from.begin(), from.end(), t.data<std::int64_t>());
    return t;
  };
  const Tensor q = r.floats({90, 4, 24}), k = r.floats({170, 2, 24}), v = r.floats({170, 2, 20}), slopes = r.floats({4});
  for (const int threads : {1, 2}) {
    const Tensor out = spoiled(DType::f32, Shape{90, 4, 20}), lse = spoiled(DType::f32, Shape{4, 90});
    AttendOptions o;
    o.causal = true, o.alibi_slopes = slopes.view();
    Context context;
    context.threads = threads;
    attend_ragged(q, k, v, offsets(queries), offsets(keys), out, o, lse.view(), context);
    for (std::size_t b = 0; b + 1 < queries.size(); ++b) {
      const std::int64_t n = queries[b + 1] - queries[b], m = keys[b + 1] - keys[b];
      const auto part = [](const Tensor& t, std::int64_t from, std::int64_t count) {
        return t.slice(0, from, count).reshape({1, count, t.extent(1), t.extent(2)});
      };
      Case c{part(q, queries[b], n), part(k, keys[b], m), part(v, keys[b], m), o, {}};
      const Result want = reference(c);
      const Tensor got = part(out, queries[b], n);
      expect_near("out", got, want.out, 1e-4);
      for (std::int64_t h = 0; h < 4; ++h)
        for (std::int64_t i = 0; i < n; ++i) {
          const float x = lse.data<float>()[h * 90 + queries[b] + i];
          const double y = want.lse[std::size_t(h * n + i)];
          EXPECT_TRUE(y == -inf ? x == -inf : std::abs(x - y) < 1e-4) << x << ' ' << y;
        }
    }
  }
  EXPECT_NE(message([&] { attend_ragged(q, k, v, offsets({0, 91}), offsets({0, 170}), q); }).find("query_offsets"), std::string::npos);
  EXPECT_NE(message([&] {
              attend_ragged(q, k, v, offsets({0, 50, 40, 90}), offsets({0, 1, 2, 170}), q);
            }).find("query_offsets"),
            std::string::npos);
}

TEST(Attend, ASecondCallAsksForNoMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the pool keeps nothing under a sanitizer";
#endif
  Random r(14);
  const Tensor q = r.floats({1, 300, 2, 32}), k = r.floats({1, 600, 1, 32}), out(DType::f32, {1, 300, 2, 32});
  const auto call = [&] {
    attend(q, k, k, out);
    attend(q.slice(1, 0, 1), k, k, out.slice(1, 0, 1));
  };
  call();
  const auto before = base::pool_count().asked;
  call();
  EXPECT_EQ(base::pool_count().asked, before);
}

TEST(Attend, SaysWhatItRuns) {
  Random r(13);
  const Tensor q = r.floats({1, 4, 2, 8}), k = r.floats({1, 6, 1, 8});
  EXPECT_EQ(why(q, k, k).substr(0, 6), "tiles/");
}

}  // namespace
}  // namespace heed
