// SPDX-License-Identifier: Apache-2.0
#include "ops/regression.h"

#include <cmath>

#include "ops/lanes.h"

namespace heed::ops {
namespace {

Tensor plain(const Tensor& t) { return t.defined() ? t.with_origin(nullptr).dense() : t; }

/// The tensors, dense, and where rows of a query or a key begin.
struct Problem {
  Problem(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& each, const RegressionOptions& how)
      : q(plain(query)), k(plain(key)), v(plain(value)), ridge(plain(each)), options(how) {
    B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3), M = k.extent(1), E = v.extent(3);
  }
  /// Row of query i, or of key i where `length` is M.
  std::int64_t row(std::int64_t b, std::int64_t i, std::int64_t h, std::int64_t length) const { return (b * length + i) * H + h; }
  const float* query(std::int64_t b, std::int64_t i, std::int64_t h) const { return q.raw<float>() + row(b, i, h, N) * D; }
  const float* key(std::int64_t b, std::int64_t j, std::int64_t h) const { return k.raw<float>() + row(b, j, h, M) * D; }
  const float* value(std::int64_t b, std::int64_t j, std::int64_t h) const { return v.raw<float>() + row(b, j, h, M) * E; }

  Tensor q, k, v, ridge;
  RegressionOptions options;
  std::int64_t B, N, H, D, M, E;
};

double dot(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

/// The regression of one query on u_j = [1; z_j]: A = sum w_j u_j u_j^T + diag(0, lambda I), g = A^-1 e_0 = [1; -rho] / (W - rho . m),
/// so that the weight of value j is w_j u_j . g. Weights and lambda are over the largest weight.
struct Fit {
  explicit Fit(const Problem& problem) : p(problem), P(p.D + 1), u(p.M * P), w(p.M), a(P * P), g(P) {}

  void make(std::int64_t b, std::int64_t i, std::int64_t h) {
    const float* query = p.query(b, i, h);
    seen = p.options.causal ? std::max<std::int64_t>(0, std::min(p.M, i + p.M - p.N + 1)) : p.M;
    top = -600;  // exp(600) is a number
    for (std::int64_t j = 0; j < seen; ++j) {
      const float* key = p.key(b, j, h);
      double score = 0;
      double* row = u.data() + j * P;
      row[0] = 1;
      for (std::int64_t d = 0; d < p.D; ++d) {
        score += double(query[d]) * double(key[d]);
        row[d + 1] = double(key[d]) - double(query[d]);
      }
      w[at(j)] = p.options.exponential ? p.options.scale * score : 0;
      top = std::max(top, w[at(j)]);
    }
    for (std::int64_t j = 0; j < seen; ++j) w[at(j)] = std::exp(w[at(j)] - top);
    const double lambda = p.ridge.defined() ? double(p.ridge.raw<float>()[p.row(b, i, h, p.N)]) : p.options.lambda;
    factor(lambda * std::exp(-top));
    std::fill(g.begin(), g.end(), 0.0);
    if (seen > 0) g[0] = 1, solve(g);
  }

  /// x := A^-1 x.
  void solve(std::vector<double>& x) const {
    for (std::int64_t r = 0; r < P; ++r) x[at(r)] = (x[at(r)] - dot(a.data() + r * P, x.data(), r)) / a[at(r * P + r)];
    for (std::int64_t r = P - 1; r >= 0; --r) {
      x[at(r)] /= a[at(r * P + r)];
      for (std::int64_t c = 0; c < r; ++c) x[at(c)] -= a[at(r * P + c)] * x[at(r)];
    }
  }
  const double* row(std::int64_t j) const { return u.data() + j * P; }
  static std::size_t at(std::int64_t i) { return std::size_t(i); }

  const Problem& p;
  const std::int64_t P;
  std::int64_t seen = 0;
  double top = 0;
  std::vector<double> u, w, a, g;  ///< a: Cholesky's lower factor

 private:
  void factor(double lambda) {
    std::fill(a.begin(), a.end(), 0.0);
    for (std::int64_t r = 1; r < P; ++r) a[at(r * P + r)] = lambda;
    std::int64_t j = 0;
    for (; j + 4 <= seen; j += 4) {  // four keys a pass over A
      const double *u0 = row(j), *u1 = u0 + P, *u2 = u1 + P, *u3 = u2 + P;
      for (std::int64_t r = 0; r < P; ++r) {
        const double x0 = w[at(j)] * u0[r], x1 = w[at(j + 1)] * u1[r], x2 = w[at(j + 2)] * u2[r], x3 = w[at(j + 3)] * u3[r];
        double* to = a.data() + r * P;
        for (std::int64_t c = 0; c <= r; ++c) to[c] += x0 * u0[c] + x1 * u1[c] + x2 * u2[c] + x3 * u3[c];
      }
    }
    for (; j < seen; ++j)
      for (std::int64_t r = 0; r < P; ++r)
        for (std::int64_t c = 0; c <= r; ++c) a[at(r * P + c)] += w[at(j)] * row(j)[r] * row(j)[c];
    for (std::int64_t r = 0; r < P; ++r)
      for (std::int64_t c = 0; c <= r; ++c) {
        const double rest = a[at(r * P + c)] - dot(a.data() + r * P, a.data() + c * P, c);
        a[at(r * P + c)] = r == c ? std::sqrt(rest) : rest / a[at(c * P + c)];
      }
  }
};

/// Gradients of q, k, v, ridge; of the outputs those that are defined.
std::vector<Tensor> backward(const Problem& p, const Tensor& of_out, const Tensor& of_weights, const Tensor& of_rho, int threads) {
  const Tensor dq(DType::f32, p.q.shape()), dk(DType::f32, p.k.shape()), dv(DType::f32, p.v.shape()), dridge(DType::f32, {p.B, p.N, p.H});
  base::parallel(threads, p.B * p.H, [&](std::int64_t task, int) {
    const auto b = task / p.H, h = task % p.H, D = p.D, E = p.E, P = D + 1;
    Fit fit(p);
    const auto at = Fit::at;
    std::vector<double> to_k(at(p.M * D)), to_v(at(p.M * E)), to_q(at(D)), y(at(P)), s(at(p.M)), dz(at(D));
    for (std::int64_t i = 0; i < p.N; ++i) {
      fit.make(b, i, h);
      const auto query = p.row(b, i, h, p.N);
      const double* g = fit.g.data();
      std::fill(to_q.begin(), to_q.end(), 0.0);
      std::fill(y.begin(), y.end(), 0.0);
      // s_j: what weight j does to the loss. y = A^-1 (sum w_j s_j u_j, and what rho = -g / g_0 does to it).
      for (std::int64_t j = 0; j < fit.seen; ++j) {
        s[at(j)] = of_weights.defined() ? double(of_weights.raw<float>()[((b * p.H + h) * p.N + i) * p.M + j]) : 0;
        const double weight = fit.w[at(j)] * dot(fit.row(j), g, P);
        for (std::int64_t e = 0; of_out.defined() && e < E; ++e) {
          const double pull = double(of_out.raw<float>()[query * E + e]);
          s[at(j)] += pull * double(p.value(b, j, h)[e]);
          to_v[at(j * E + e)] += weight * pull;
        }
        for (std::int64_t r = 0; r < P; ++r) y[at(r)] += fit.w[at(j)] * s[at(j)] * fit.row(j)[r];
      }
      for (std::int64_t d = 0; of_rho.defined() && fit.seen > 0 && d < D; ++d) {
        const double pull = double(of_rho.raw<float>()[query * D + d]) / g[0];
        y[at(d + 1)] -= pull;
        y[0] += pull * g[d + 1] / g[0];
      }
      if (fit.seen > 0) fit.solve(y);
      for (std::int64_t j = 0; j < fit.seen; ++j) {
        const double *u = fit.row(j), w = fit.w[at(j)], ug = dot(u, g, P), rest = s[at(j)] - dot(u, y.data(), P);
        const double score = p.options.exponential ? p.options.scale * w * ug * rest : 0;
        for (std::int64_t d = 0; d < D; ++d) {
          const double moved = w * (rest * g[d + 1] - ug * y[at(d + 1)]);
          to_k[at(j * D + d)] += moved + score * double(p.query(b, i, h)[d]);
          to_q[at(d)] += score * double(p.key(b, j, h)[d]) - moved;
        }
      }
      for (std::int64_t d = 0; d < D; ++d) dq.raw<float>()[query * D + d] = float(to_q[at(d)]);
      dridge.raw<float>()[query] = float(-std::exp(-fit.top) * dot(y.data() + 1, g + 1, D));
    }
    for (std::int64_t j = 0; j < p.M; ++j) {
      for (std::int64_t d = 0; d < D; ++d) dk.raw<float>()[p.row(b, j, h, p.M) * D + d] = float(to_k[at(j * D + d)]);
      for (std::int64_t e = 0; e < E; ++e) dv.raw<float>()[p.row(b, j, h, p.M) * E + e] = float(to_v[at(j * E + e)]);
    }
  });
  return {dq, dk, dv, dridge};
}

}  // namespace

Regressed regress(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& ridge, const RegressionOptions& options,
                  bool want_weights) {
  need(q, DType::f32, "q"), need(k, DType::f32, "k"), need(v, DType::f32, "v");
  if (q.rank() != 4) fail("q", "[B, N, H, D]", q.shape().text());
  const Shape keys{q.extent(0), k.rank() == 4 ? k.extent(1) : 0, q.extent(2), q.extent(3)};
  if (k.shape() != keys) fail("k", keys.text(), k.shape().text());
  const Shape values{keys[0], keys[1], keys[2], v.rank() == 4 ? v.extent(3) : 0}, each{q.extent(0), q.extent(1), q.extent(2)};
  if (v.shape() != values) fail("v", values.text(), v.shape().text());
  if (ridge.defined()) need(ridge, DType::f32, "ridge");
  if (ridge.defined() && ridge.shape() != each) fail("ridge", each.text(), ridge.shape().text());
  const Problem p(q, k, v, ridge, options);
  Regressed result{Tensor(DType::f32, {p.B, p.N, p.H, p.E}), {}, Tensor(DType::f32, p.q.shape())};
  if (want_weights) result.weights = Tensor::zeros(DType::f32, {p.B, p.H, p.N, p.M});
  pieces(ops.context().threads, p.B * p.N * p.H, 65536 / std::max<std::int64_t>(1, p.M * p.D * p.D),
         [&](std::int64_t begin, std::int64_t end) {
           Fit fit(p);
           std::vector<double> sum(std::size_t(p.E));
           for (std::int64_t query = begin; query < end; ++query) {
             const auto h = query % p.H, i = query / p.H % p.N, b = query / p.H / p.N;
             fit.make(b, i, h);
             std::fill(sum.begin(), sum.end(), 0.0);
             for (std::int64_t j = 0; j < fit.seen; ++j) {
               const double weight = fit.w[std::size_t(j)] * dot(fit.row(j), fit.g.data(), fit.P);
               if (want_weights) result.weights.raw<float>()[((b * p.H + h) * p.N + i) * p.M + j] = float(weight);
               for (std::int64_t e = 0; e < p.E; ++e) sum[std::size_t(e)] += weight * double(p.value(b, j, h)[e]);
             }
             for (std::int64_t e = 0; e < p.E; ++e) result.out.raw<float>()[query * p.E + e] = float(sum[std::size_t(e)]);
             for (std::int64_t d = 0; d < p.D; ++d)
               result.rho.raw<float>()[query * p.D + d] = fit.seen > 0 ? float(-fit.g[std::size_t(d + 1)] / fit.g[0]) : 0;
           }
         });
  ops.record("regress", {&result.out, &result.weights, &result.rho}, {&q, &k, &v, &ridge}, [q, k, v, ridge, options](const Pull& pull) {
    const std::vector<const Tensor*> all{&q, &k, &v, &ridge, &pull.gradient(0), &pull.gradient(1), &pull.gradient(2)};
    if (pull.ops.wanted(all)) fail("gradient of local regressions", "to be differentiated once", "twice");
    auto found = backward(Problem(q, k, v, ridge, options), plain(pull.gradient(0)), plain(pull.gradient(1)), plain(pull.gradient(2)),
                          pull.ops.context().threads);
    if (!ridge.defined()) found.pop_back();
    return found;
  });
  return result;
}

}  // namespace heed::ops
