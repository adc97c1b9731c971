// SPDX-License-Identifier: Apache-2.0
// scan() and scan_backward() against the recurrence in double, token by token, over random shapes, strides and options.
#include "heed/ops.h"
#include "heed/scan.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attend_cases.h"

namespace heed {
namespace {

using Vector = std::vector<double>;

struct Random : attend_cases::Random {
  using attend_cases::Random::Random;
  Tensor floats(const Shape& shape, DType dtype = DType::f32, float scale = 1) {
    Tensor t = attend_cases::Random::floats(shape);
    for (std::int64_t i = 0; i < t.count(); ++i) t.data<float>()[i] *= scale;
    if (shape.rank() == 4 && chance(30)) t = t.transpose(1, 2).dense().transpose(1, 2);  // heads before tokens in memory
    return dtype == DType::f32 ? t : t.to(dtype);
  }
};

/// A tensor as doubles in row-major order, stretched to a shape.
Vector values(const View& view, const Shape& shape) {
  Vector result;
  for (std::int64_t n = 0; n < shape.count(); ++n) {
    std::int64_t rest = n, at = 0;
    for (int a = shape.rank() - 1; a >= 0; --a) {
      const std::int64_t i = rest % shape[a];
      rest /= shape[a];
      const int own = a - (shape.rank() - view.rank());
      if (own >= 0 && view.extent(own) > 1) at += i * view.stride(own);
    }
    result.push_back(attend_cases::element(view, at));
  }
  return result;
}

struct Problem {
  std::int64_t B, N, H, G, D, E;
  Tensor q, k, v, decay, beta, initial, initial_sum, lengths;
  ScanOptions options;
  bool channels = false;

  ScanOptions with_views() const {
    ScanOptions o = options;
    const auto give = [](std::optional<View>& to, const Tensor& from) {
      if (from.defined()) to = from.view();
    };
    give(o.decay, decay), give(o.beta, beta), give(o.initial, initial), give(o.initial_sum, initial_sum), give(o.lengths, lengths);
    return o;
  }
};

/// What goes in and comes out, in double.
struct Wide {
  Vector q, k, v, decay, beta, initial, initial_sum;
};
struct Result {
  Vector out, sum, final, final_sum;
};

/// The definition. Absolute sums of the same terms beside it are not needed: inputs are of size one.
Result recurrence(const Problem& p, const Wide& w) {
  const auto [B, N, H, G, D, E] = std::tuple(p.B, p.N, p.H, p.G, p.D, p.E);
  Result r{Vector(std::size_t(B * N * H * E)), Vector(std::size_t(B * N * H)), Vector(std::size_t(B * H * D * E)),
           Vector(std::size_t(B * H * D))};
  const auto pass = [&](std::int64_t b, std::int64_t h, bool reverse, bool exclusive, bool states) {
    Vector S(std::size_t(D * E)), z(static_cast<std::size_t>(D));
    if (states && !w.initial.empty()) std::copy_n(w.initial.begin() + (b * H + h) * D * E, D * E, S.begin());
    if (states && !w.initial_sum.empty()) std::copy_n(w.initial_sum.begin() + (b * H + h) * D, D, z.begin());
    const std::int64_t length = p.lengths.defined() ? p.lengths.data<std::int64_t>()[b] : N, g = h / (H / G);
    for (std::int64_t s = 0; s < length; ++s) {
      const std::int64_t t = reverse ? length - 1 - s : s, row = (b * N + t) * H + h;
      const double *q = &w.q[std::size_t(row * D)], *k = &w.k[std::size_t(((b * N + t) * G + g) * D)],
                   *v = &w.v[std::size_t(((b * N + t) * G + g) * E)];
      for (std::int64_t d = 0; d < D; ++d) {
        const double factor = w.decay.empty() ? 1 : std::exp(w.decay[std::size_t(row * D + d)]);
        for (std::int64_t e = 0; e < E; ++e) S[std::size_t(d * E + e)] *= factor;
        z[std::size_t(d)] *= factor;
      }
      Vector u(v, v + E);
      if (!w.beta.empty()) {
        for (std::int64_t e = 0; e < E; ++e) {
          for (std::int64_t d = 0; d < D; ++d) u[std::size_t(e)] -= k[d] * S[std::size_t(d * E + e)];
          u[std::size_t(e)] *= w.beta[std::size_t(row)];
        }
      }
      const auto read = [&] {
        for (std::int64_t d = 0; d < D; ++d) {
          for (std::int64_t e = 0; e < E; ++e) r.out[std::size_t(row * E + e)] += p.options.scale * q[d] * S[std::size_t(d * E + e)];
          r.sum[std::size_t(row)] += p.options.scale * q[d] * z[std::size_t(d)];
        }
      };
      if (exclusive) read();
      for (std::int64_t d = 0; d < D; ++d) {
        for (std::int64_t e = 0; e < E; ++e) S[std::size_t(d * E + e)] += k[d] * u[std::size_t(e)];
        z[std::size_t(d)] += k[d];
      }
      if (!exclusive) read();
    }
    if (!states) return;
    std::copy(S.begin(), S.end(), r.final.begin() + (b * H + h) * D * E);
    std::copy(z.begin(), z.end(), r.final_sum.begin() + (b * H + h) * D);
  };
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h) {
      pass(b, h, p.options.direction == Direction::reverse, p.options.exclusive, true);
      if (p.options.direction == Direction::both) pass(b, h, true, true, false);
    }
  return r;
}

Wide widen(const Problem& p) {
  Wide w{values(p.q, p.q.shape()), values(p.k, p.k.shape()), values(p.v, p.v.shape()), {}, {}, {}, {}};
  if (p.decay.defined()) w.decay = values(p.decay, Shape{p.B, p.N, p.H, p.D});
  if (p.beta.defined()) w.beta = values(p.beta, Shape{p.B, p.N, p.H});
  if (p.initial.defined()) w.initial = values(p.initial, p.initial.shape());
  if (p.initial_sum.defined()) w.initial_sum = values(p.initial_sum, p.initial_sum.shape());
  return w;
}

Problem random_problem(Random& random, std::int64_t longest, bool strong) {
  Problem p;
  p.B = random.whole(1, 2), p.G = random.whole(1, 3), p.H = p.G * random.whole(1, 2);
  p.N = random.chance(15) ? random.whole(0, 5) : random.whole(1, int(longest));
  p.D = random.whole(1, 40), p.E = random.chance(20) ? random.whole(60, 90) : random.whole(1, 40);
  const DType dtype = random.chance(60) ? DType::f32 : random.chance(50) ? DType::bf16 : DType::f16;
  p.q = random.floats({p.B, p.N, p.H, p.D}, dtype);
  p.k = random.floats({p.B, p.N, p.G, p.D}, dtype, float(1 / std::sqrt(double(p.D))));
  p.v = random.floats({p.B, p.N, p.G, p.E}, dtype);
  const int kind = random.whole(0, 4);  // none, a head, a token, a channel of a head, a channel of a token
  if (kind > 0) {
    p.channels = kind > 2;
    p.decay = random.floats({kind % 2 ? 1 : p.B, kind % 2 ? 1 : p.N, p.H, p.channels ? p.D : 1});
    float size = strong ? 8 : 0.3f;
    for (std::int64_t i = 0; i < p.decay.count(); ++i) {
      float& g = p.decay.data<float>()[i];
      g = -size * std::abs(g);
      if (!strong && random.chance(10)) g *= -0.1f;  // grows
      if (strong && random.chance(2)) g = -std::numeric_limits<float>::infinity();
    }
  }
  if (random.chance(40)) {
    p.beta = random.floats({p.B, p.N, p.H});
    for (std::int64_t i = 0; i < p.beta.count(); ++i) p.beta.data<float>()[i] = 1 / (1 + std::exp(p.beta.data<float>()[i]));
  }
  if (random.chance(50)) p.initial = random.floats({p.B, p.H, p.D, p.E});
  if (random.chance(50)) p.initial_sum = random.floats({p.B, p.H, p.D});
  if (random.chance(40)) {
    p.lengths = Tensor(DType::i64, {p.B});
    for (std::int64_t b = 0; b < p.B; ++b) p.lengths.data<std::int64_t>()[b] = random.whole(0, int(p.N));
  }
  p.options.direction = Direction(random.whole(0, 2));
  p.options.exclusive = random.chance(25);
  p.options.scale = random.chance(50) ? 1.0f : 0.5f;
  const int chunks[] = {0, 1, 2, 16, 30, 64};
  p.options.chunk = chunks[random.whole(0, 5)];
  return p;
}

struct Outputs {
  Tensor out, sum, final, final_sum;
};

Outputs run(const Problem& p, const Context& context) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto fresh = [&](const Shape& shape) { return Tensor::of(std::vector<float>(std::size_t(shape.count()), nan), shape); };
  Outputs r{fresh({p.B, p.N, p.H, p.E}), {}, fresh({p.B, p.H, p.D, p.E}), {}};
  ScanExtras extras;
  extras.final = r.final.view();
  if (!p.beta.defined()) {
    r.sum = fresh({p.B, p.N, p.H}), r.final_sum = fresh({p.B, p.H, p.D});
    extras.sum = r.sum.view(), extras.final_sum = r.final_sum.view();
  }
  scan(p.q, p.k, p.v, r.out, p.with_views(), extras, context);
  return r;
}

void expect_close(const Tensor& got, const Vector& want, double tolerance, const std::string& what) {
  double largest = 1;
  for (double x : want) largest = std::max(largest, std::abs(x));
  for (std::int64_t i = 0; i < got.count(); ++i)
    ASSERT_NEAR(got.data<float>()[i], want[std::size_t(i)], tolerance * largest) << what << " " << i << " of " << got.shape().text();
}

std::string text(const Problem& p) {
  return "B" + std::to_string(p.B) + " N" + std::to_string(p.N) + " H" + std::to_string(p.H) + " G" + std::to_string(p.G) + " D" +
         std::to_string(p.D) + " E" + std::to_string(p.E) + " decay " + (p.decay.defined() ? p.decay.shape().text() : "none") + " beta " +
         std::to_string(p.beta.defined()) + " direction " + std::to_string(int(p.options.direction)) + " exclusive " +
         std::to_string(p.options.exclusive) + " chunk " + std::to_string(p.options.chunk) + " " + name_of(p.q.dtype());
}

TEST(Scan, EqualsTheRecurrence) {
  Random random(1);
  for (int i = 0; i < 300; ++i) {
    const Problem p = random_problem(random, 150, i % 3 == 0);
    const Result want = recurrence(p, widen(p));
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
      if (!runs_here(isa)) continue;
      const Outputs got = run(p, {.threads = 1, .isa = isa});
      SCOPED_TRACE(text(p) + " " + name_of(isa));
      expect_close(got.out, want.out, 1e-5, "out");
      expect_close(got.final, want.final, 1e-5, "final");
      if (p.beta.defined()) continue;
      expect_close(got.sum, want.sum, 1e-5, "sum");
      expect_close(got.final_sum, want.final_sum, 1e-5, "final_sum");
      if (HasFatalFailure()) return;
    }
    if (HasFatalFailure()) return;
  }
}

TEST(Scan, SameBitsForAnyThreads) {
  Random random(2);
  for (int i = 0; i < 40; ++i) {
    const Problem p = random_problem(random, 200, false);
    const Outputs one = run(p, {.threads = 1}), three = run(p, {.threads = 3});
    EXPECT_EQ(0, std::memcmp(one.out.data<float>(), three.out.data<float>(), std::size_t(one.out.count()) * 4)) << text(p);
    EXPECT_EQ(0, std::memcmp(one.final.data<float>(), three.final.data<float>(), std::size_t(one.final.count()) * 4)) << text(p);
  }
}

/// Reading in two parts, the state handed on in place, equals reading at once.
TEST(Scan, GoesOnFromAState) {
  Random random(3);
  for (int i = 0; i < 40; ++i) {
    Problem p = random_problem(random, 100, false);
    p.options.direction = Direction::forward, p.lengths = Tensor();
    if (p.decay.defined()) p.decay = p.decay.broadcast({p.B, p.N, p.H, p.channels ? p.D : 1}).dense();
    const Outputs whole = run(p, {});
    const Tensor state = p.initial.defined() ? p.initial.to(DType::f32) : Tensor::zeros(DType::f32, {p.B, p.H, p.D, p.E});
    Tensor copy(DType::f32, state.shape());
    const Tensor dense = state.dense();
    std::memcpy(copy.data<float>(), dense.data<float>(), std::size_t(copy.count()) * 4);
    const Tensor out(DType::f32, {p.B, p.N, p.H, p.E});
    for (std::int64_t from = 0; from < p.N;) {
      const std::int64_t count = std::min<std::int64_t>(p.N - from, random.chance(50) ? 1 : random.whole(2, 60));
      ScanOptions o = p.with_views();
      const auto part = [&](const Tensor& t) { return t.slice(1, from, count); };
      Tensor decay, beta;
      if (o.decay) o.decay = (decay = part(p.decay)).view();
      if (o.beta) o.beta = (beta = part(p.beta)).view();
      o.initial = copy.view();
      o.initial_sum.reset();
      ScanExtras extras;
      extras.final = copy.view();
      scan(part(p.q), part(p.k), part(p.v), part(out), o, extras);
      from += count;
    }
    const Result want = recurrence(p, widen(p));
    expect_close(out, want.out, 1e-5, "out");
    expect_close(copy, want.final, 1e-5, "state");
    if (HasFatalFailure()) {
      ADD_FAILURE() << text(p);
      return;
    }
  }
}

TEST(Scan, WhatIsNotFiniteStaysBehind) {
  Random random(4);
  Problem p;
  p.B = 1, p.N = 40, p.H = p.G = 1, p.D = 8, p.E = 8;
  p.q = random.floats({1, 40, 1, 8}), p.k = random.floats({1, 40, 1, 8}), p.v = random.floats({1, 40, 1, 8});
  for (const bool delta : {false, true}) {
    if (delta) p.beta = Tensor::of(std::vector<float>(40, 0.5f), {1, 40, 1});
    const Outputs clean = run(p, {});
    for (const Tensor& t : {p.v, p.k}) {
      float& x = t.data<float>()[20 * t.stride(1)];
      const float before = x;
      x = std::numeric_limits<float>::quiet_NaN();
      const Outputs got = run(p, {});
      x = before;
      for (std::int64_t i = 0; i < 20 * 8; ++i) EXPECT_NEAR(got.out.data<float>()[i], clean.out.data<float>()[i], 1e-4);
      EXPECT_TRUE(std::isnan(got.out.data<float>()[20 * 8]));
    }
  }
}

/// Gradients against central differences of the recurrence in double.
TEST(Scan, BackwardEqualsFiniteDifferences) {
  Random random(5);
  for (int i = 0; i < 60; ++i) {
    Problem p = random_problem(random, 12, false);
    if (i % 4 == 0 && p.N > 0) {  // through sections of chunks
      p.options.chunk = 2;
    }
    p.D = std::min<std::int64_t>(p.D, 5), p.E = std::min<std::int64_t>(p.E, 4);
    const auto cut = [&](Tensor& t, int axis, std::int64_t n) {
      if (t.defined() && t.extent(axis) > n) t = t.slice(axis, 0, n).to(DType::f32).dense();
    };
    cut(p.q, 3, p.D), cut(p.k, 3, p.D), cut(p.v, 3, p.E), cut(p.initial, 2, p.D), cut(p.initial, 3, p.E), cut(p.initial_sum, 2, p.D);
    p.q = p.q.to(DType::f32), p.k = p.k.to(DType::f32), p.v = p.v.to(DType::f32);
    cut(p.decay, 3, p.D);
    p.channels = p.decay.defined() && p.D > 1 && p.decay.extent(-1) == p.D;
    const Result shape = recurrence(p, widen(p));
    const auto random_vector = [&](std::size_t n) {
      Vector x(n);
      for (double& y : x) y = random.normal();
      return x;
    };
    const Result weight{random_vector(shape.out.size()), random_vector(shape.sum.size()), random_vector(shape.final.size()),
                        random_vector(shape.final_sum.size())};
    const bool sums = !p.beta.defined();
    const auto loss = [&](const Wide& w) {
      const Result r = recurrence(p, w);
      double total = 0;
      for (std::size_t n = 0; n < r.out.size(); ++n) total += r.out[n] * float(weight.out[n]);
      for (std::size_t n = 0; n < r.final.size(); ++n) total += r.final[n] * float(weight.final[n]);
      for (std::size_t n = 0; sums && n < r.sum.size(); ++n) total += r.sum[n] * float(weight.sum[n]);
      for (std::size_t n = 0; sums && n < r.final_sum.size(); ++n) total += r.final_sum[n] * float(weight.final_sum[n]);
      return total;
    };
    const auto tensor = [](const Vector& x, const Shape& s) { return Tensor::of(std::vector<float>(x.begin(), x.end()), s); };
    const Shape tokens{p.B, p.N, p.H}, state{p.B, p.H, p.D, p.E}, key_state{p.B, p.H, p.D};
    const Tensor out = tensor(weight.out, {p.B, p.N, p.H, p.E}), sum = tensor(weight.sum, tokens), final = tensor(weight.final, state),
                 final_sum = tensor(weight.final_sum, key_state);
    ScanCotangents given{out.view(), {}, final.view(), {}};
    if (sums) given.sum = sum.view(), given.final_sum = final_sum.view();
    const Shape decay_shape{p.B, p.N, p.H, p.channels ? p.D : 1};
    const Tensor dq(DType::f32, p.q.shape()), dk(DType::f32, p.k.shape()), dv(DType::f32, p.v.shape()), ddecay(DType::f32, decay_shape),
        dbeta(DType::f32, tokens), dinitial(DType::f32, state), dinitial_sum(DType::f32, key_state);
    const ScanGradients into{dq.view(), dk.view(), dv.view(), ddecay.view(), dbeta.view(), dinitial.view(), dinitial_sum.view()};
    scan_backward(p.q, p.k, p.v, p.with_views(), given, into,
                  {.threads = 1 + i % 2, .isa = i % 3 && runs_here(Isa::avx512) ? Isa::avx512 : Isa::avx2});

    Wide w = widen(p);
    const auto check = [&](Vector& x, const Tensor& got, const char* what, std::int64_t together = 1) {
      if (x.empty()) return;
      Vector want(x.size() / std::size_t(together));
      for (std::size_t n = 0; n < x.size(); ++n) {
        const double kept = x[n], step = 1e-5;
        x[n] = kept + step;
        const double above = loss(w);
        x[n] = kept - step;
        want[n / std::size_t(together)] += (above - loss(w)) / (2 * step);
        x[n] = kept;
      }
      expect_close(got, want, 2e-5, what);
    };
    SCOPED_TRACE(text(p));
    check(w.q, dq, "q"), check(w.k, dk, "k"), check(w.v, dv, "v"), check(w.beta, dbeta, "beta"), check(w.initial, dinitial, "initial");
    check(w.decay, ddecay, "decay", p.channels ? 1 : p.D);
    if (sums) check(w.initial_sum, dinitial_sum, "initial_sum");
    if (HasFatalFailure()) return;
  }
}

/// Long enough for several checkpoints: the gradient is the same however the tokens are cut into chunks.
TEST(Scan, BackwardDoesNotDependOnTheChunks) {
  Random random(6);
  for (const bool delta : {false, true}) {
    Problem p;
    p.B = 1, p.N = 700, p.H = p.G = 1, p.D = 20, p.E = 17, p.channels = true;
    p.q = random.floats({1, 700, 1, 20}), p.k = random.floats({1, 700, 1, 20}, DType::f32, 0.2f), p.v = random.floats({1, 700, 1, 17});
    p.decay = random.floats({1, 700, 1, 20});
    for (std::int64_t i = 0; i < p.decay.count(); ++i) p.decay.data<float>()[i] = -std::abs(p.decay.data<float>()[i]);
    if (delta) p.beta = Tensor::of(std::vector<float>(700, 0.7f), {1, 700, 1});
    const Tensor out = random.floats({1, 700, 1, 17});
    std::vector<Tensor> first;
    for (const std::int64_t chunk : {2, 48}) {
      p.options.chunk = chunk;
      std::vector<Tensor> got{Tensor(DType::f32, p.q.shape()), Tensor(DType::f32, p.k.shape()), Tensor(DType::f32, p.v.shape()),
                              Tensor(DType::f32, p.decay.shape())};
      ScanGradients into{got[0].view(), got[1].view(), got[2].view(), got[3].view(), {}, {}, {}};
      scan_backward(p.q, p.k, p.v, p.with_views(), {out.view(), {}, {}, {}}, into);
      if (first.empty()) {
        first = got;
        continue;
      }
      for (std::size_t i = 0; i < got.size(); ++i)
        expect_close(got[i], values(first[i], first[i].shape()), 2e-5, "gradient " + std::to_string(i));
    }
  }
}

/// The op with its fused derivative against the same in smaller ops.
TEST(Scan, TheOpEqualsItsPlainForm) {
  Random random(7);
  const Context context;
  const Ops ops(context);
  for (int i = 0; i < 40; ++i) {
    Problem p = random_problem(random, 20, false);
    p.q = p.q.to(DType::f32), p.k = p.k.to(DType::f32), p.v = p.v.to(DType::f32);
    const unsigned extras = want_final | (p.beta.defined() ? 0u : unsigned(want_sum | want_final_sum));
    std::vector<Tensor> leaves, both[2];
    const auto start = [&](const Tensor& x) {
      if (!x.defined()) return x;
      leaves.push_back(leaf(x));
      return leaves.back();
    };
    const Tensor q = start(p.q), k = start(p.k), v = start(p.v);
    const ScanTerms terms{start(p.decay), start(p.beta), start(p.initial), start(p.initial_sum), p.lengths};
    SCOPED_TRACE(text(p));
    for (const bool plain : {false, true}) {
      const Scanned got = plain ? ops.scan_plain(q, k, v, terms, p.options, extras) : ops.scan(q, k, v, terms, p.options, extras);
      std::vector<Tensor> outs{got.out, got.final}, cotangents;
      if (!p.beta.defined()) outs.insert(outs.end(), {got.sum, got.final_sum});
      Random same{unsigned(i)};
      for (const Tensor& out : outs) cotangents.push_back(same.floats(out.shape()));
      for (const Tensor& out : outs) both[plain].push_back(out.with_origin(nullptr));
      for (const Tensor& gradient : gradients(ops, outs, cotangents, leaves)) both[plain].push_back(gradient.with_origin(nullptr));
    }
    for (std::size_t n = 0; n < both[0].size(); ++n)
      expect_close(both[0][n].dense(), values(both[1][n], both[1][n].shape()), 3e-5, "tensor " + std::to_string(n));
    if (HasFatalFailure()) return;
  }
}

TEST(Scan, NoSecondDerivativeOfTheFusedOne) {
  const Context context;
  const Ops ops(context);
  const Tensor q = leaf(Tensor::zeros(DType::f32, {1, 2, 1, 2}));
  const Tensor out = ops.scan(q, q, q).out;
  const auto first = gradients(ops, {out}, {Tensor::zeros(DType::f32, out.shape())}, {q});
  EXPECT_THROW(gradients(ops, {first[0]}, {Tensor::zeros(DType::f32, q.shape())}, {q}), Error);
}

/// x_t = a_t x_{t-1} + b_t, its gradient, and the running maximum, by their definitions.
TEST(Scan, RecurrenceAndRunningMaximum) {
  Random random(8);
  const Context context;
  const Ops ops(context);
  for (const bool reverse : {false, true}) {
    for (const Shape& shape : {Shape{3, 7, 5}, Shape{3, 1, 5}, Shape{3, 7, 1}}) {
      const Tensor a = leaf(random.floats(shape)), b = leaf(random.floats({3, 7, 5})), g = random.floats({3, 7, 5});
      const Tensor x = ops.recurrence(a, b, 1, reverse);
      const Vector va = values(a.raw_view(), {3, 7, 5}), vb = values(b.raw_view(), {3, 7, 5}), vg = values(g, {3, 7, 5});
      Vector want(105), db(105), da(105);
      const auto walk = [&](bool backwards, auto body) {
        for (int o = 0; o < 3; ++o)
          for (int i = 0; i < 5; ++i)
            for (int s = 0; s < 7; ++s) {
              const int t = backwards ? 6 - s : s, step = backwards ? 5 : -5;
              body(std::size_t(o * 35 + t * 5 + i), s == 0 ? std::size_t(105) : std::size_t(o * 35 + t * 5 + i + step));
            }
      };
      walk(reverse, [&](std::size_t at, std::size_t before) { want[at] = vb[at] + (before < 105 ? va[at] * want[before] : 0); });
      walk(!reverse, [&](std::size_t at, std::size_t after) { db[at] = vg[at] + (after < 105 ? va[after] * db[after] : 0); });
      walk(reverse, [&](std::size_t at, std::size_t before) { da[at] = before < 105 ? db[at] * want[before] : 0; });
      expect_close(x.with_origin(nullptr), want, 1e-5, "x");
      const auto got = gradients(ops, {x}, {g}, {a, b});
      expect_close(got[1].with_origin(nullptr), db, 1e-5, "b");
      Vector summed(std::size_t(shape.count()));
      for (std::size_t n = 0; n < 105; ++n) {
        const std::size_t o = n / 35, t = n / 5 % 7, i = n % 5, e1 = std::size_t(shape[1]), e2 = std::size_t(shape[2]);
        summed[(o * e1 + (e1 > 1 ? t : 0)) * e2 + (e2 > 1 ? i : 0)] += da[n];
      }
      expect_close(got[0].with_origin(nullptr).dense(), summed, 1e-5, "a");
    }
  }
  const Tensor x = leaf(Tensor::of({1, 3, 2, 3, 5, 4}, {1, 6, 1})), highest = ops.cummax(x, 1);
  expect_close(highest.with_origin(nullptr), {1, 3, 3, 3, 5, 5}, 0, "cummax");
  expect_close(gradients(ops, {highest}, {ops.full({1, 6, 1}, 1)}, {x})[0].with_origin(nullptr), {1, 3, 0, 0, 2, 0}, 0, "gradient");
}

TEST(Scan, RefusesWhatDoesNotFit) {
  const Tensor q = Tensor::zeros(DType::f32, {1, 4, 2, 8}), v = Tensor::zeros(DType::f32, {1, 4, 2, 8}),
               out = Tensor::zeros(DType::f32, {1, 4, 2, 8});
  const auto message = [&](const ScanOptions& o, const ScanExtras& e = {}) -> std::string {
    try {
      scan(q, q, v, out, o, e);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const Tensor three = Tensor::zeros(DType::f32, {1, 4, 3}), beta = Tensor::zeros(DType::f32, {1, 4, 2}),
               wrong = Tensor::zeros(DType::f32, {1, 2, 8, 7});
  ScanOptions o;
  o.chunk = 65;
  EXPECT_EQ(message(o), "chunk: expected 0 to 64, got 65");
  o = {}, o.decay = three.view();
  EXPECT_EQ(message(o), "decay: expected broadcastable to [1, 4, 2, 8], got [1, 4, 3]");
  o = {}, o.initial = wrong.view();
  EXPECT_EQ(message(o), "initial: expected [1, 2, 8, 8], got [1, 2, 8, 7]");
  o = {}, o.beta = beta.view();
  ScanExtras extras;
  extras.sum = beta.view();
  EXPECT_EQ(message(o, extras), "sum: expected no delta rule, got beta");
}

}  // namespace
}  // namespace heed
