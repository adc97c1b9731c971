// SPDX-License-Identifier: Apache-2.0
// Random calls of attend(), and what they give by a double loop in double.
#pragma once
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/float16.h"
#include "heed/attend.h"

namespace heed::attend_cases {

inline constexpr double inf = std::numeric_limits<double>::infinity();

/// The element `at` elements behind the first.
inline float element(const View& view, std::int64_t at) {
  switch (view.dtype) {
    case DType::f32:
      return static_cast<const float*>(view.data)[at];
    case DType::bf16:
      return base::from_bf16(static_cast<const std::uint16_t*>(view.data)[at]);
    case DType::f16:
      return base::from_f16(static_cast<const std::uint16_t*>(view.data)[at]);
    case DType::i64:
      return float(static_cast<const std::int64_t*>(view.data)[at]);
    default:
      return static_cast<const bool*>(view.data)[at];
  }
}
inline float get(const View& view, std::initializer_list<std::int64_t> index) {
  std::int64_t at = 0;
  int axis = 0;
  for (const std::int64_t i : index) at += i * view.stride(axis++);
  return element(view, at);
}
/// With numpy's broadcasting to four axes.
inline float spread(const View& view, std::array<std::int64_t, 4> index) {
  std::int64_t at = 0;
  for (int a = 0; a < view.rank(); ++a)
    if (view.extent(a) > 1) at += index[std::size_t(a + 4 - view.rank())] * view.stride(a);
  return element(view, at);
}

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int whole(int low, int high) { return std::uniform_int_distribution<int>(low, high)(engine_); }
  bool chance(int percent) { return whole(1, 100) <= percent; }
  float normal() { return std::normal_distribution<float>()(engine_); }
  Tensor floats(const Shape& shape, DType dtype = DType::f32) {
    std::vector<float> values(std::size_t(shape.count()));
    for (float& x : values) x = normal();
    const Tensor t = Tensor::of(values, shape);
    return dtype == DType::f32 ? t : t.to(dtype);
  }
  Tensor bools(const Shape& shape, int percent) {
    const Tensor t(DType::boolean, shape);
    for (std::int64_t i = 0; i < shape.count(); ++i) t.data<bool>()[i] = chance(percent);
    return t;
  }
  Tensor lengths(std::int64_t n, std::int64_t most) {
    const Tensor t(DType::i64, Shape{n});
    for (std::int64_t i = 0; i < n; ++i) t.data<std::int64_t>()[i] = whole(0, int(most));
    return t;
  }
  /// (a, b, c, d) whose memory is in another order of axes.
  Tensor permuted(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d, DType dtype) {
    switch (whole(0, 3)) {
      case 0:
        return floats(Shape{a, b, c, d}, dtype);
      case 1:
        return floats(Shape{a, c, b, d}, dtype).permute({0, 2, 1, 3});
      case 2:
        return floats(Shape{a, d, c, b}, dtype).permute({0, 3, 2, 1});
      default:
        return floats(Shape{a, b, c, d + 3}, dtype).slice(3, 2, d);
    }
  }
  /// Some axes of extent 1, or missing in front.
  Shape part(std::vector<std::int64_t> extents) {
    for (auto& e : extents)
      if (chance(40)) e = 1;
    extents.erase(extents.begin(), extents.begin() + whole(0, 2));
    return Shape(extents);
  }

 private:
  std::mt19937 engine_;
};

struct Case {
  Tensor q, k, v;
  AttendOptions options;
  std::vector<Tensor> kept;
  const View& keep(Tensor t) {
    kept.push_back(std::move(t));
    return kept.back().view();
  }
};

struct Result {
  std::vector<double> out, mass, lse, row_max, columns, weights;  // mass: sums of |weight value|
};

inline Result reference(const Case& c) {
  const AttendOptions& o = c.options;
  const std::int64_t B = c.q.extent(0), N = c.q.extent(1), H = c.q.extent(2), D = c.q.extent(3), M = c.k.extent(1), G = c.k.extent(2),
                     E = c.v.extent(3);
  Result r;
  r.out.assign(std::size_t(B * N * H * E), 0);
  r.mass = r.out;
  r.lse.assign(std::size_t(B * H * N), -inf);
  r.row_max.assign(std::size_t(B * H * N), -inf);
  r.columns.assign(std::size_t(B * H * M), 0);
  r.weights.assign(std::size_t(B * H * N * M), 0);
  const bool softmax = o.weighting == Weighting::softmax || o.weighting == Weighting::softmax_plus_one;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t i = 0; i < N; ++i) {
        const std::int64_t g = h / (H / G), nk = o.key_lengths ? std::int64_t(get(*o.key_lengths, {b})) : M,
                           nq = o.query_lengths ? std::int64_t(get(*o.query_lengths, {b})) : N, p = i + nk - nq;
        std::vector<double> s(std::size_t(M), -inf);
        double top = -inf, sum = 0;
        for (std::int64_t j = 0; j < nk && i < nq; ++j) {
          double x = 0;
          for (std::int64_t d = 0; d < D; ++d) x += double(get(c.q, {b, i, h, d})) * get(c.k, {b, j, g, d});
          x *= o.scale ? *o.scale : 1 / std::sqrt(double(D));
          if (o.softcap > 0) x = o.softcap * std::tanh(x / o.softcap);
          if (o.bias) x += spread(*o.bias, {b, h, i, j});
          if (o.alibi_slopes) x -= double(get(*o.alibi_slopes, {h})) * double(std::abs(p - j));
          if (o.causal && j > p) continue;
          if (o.window_left >= 0 && j < p - o.window_left && j >= o.first_keys) continue;
          if ((o.window_right >= 0 && j > p + o.window_right) || (p - j) % o.dilation != 0) continue;
          if (o.mask && !spread(*o.mask, {b, h, i, j})) continue;
          if (o.blocks && !spread(o.blocks->keep, {b, h, i / o.blocks->query_block, j / o.blocks->key_block})) continue;
          s[std::size_t(j)] = x;
          top = std::max(top, x);
        }
        const std::size_t row = std::size_t((b * H + h) * N + i);
        r.row_max[row] = top;
        const bool sunk = o.sink || o.weighting == Weighting::softmax_plus_one;
        const double sink = o.sink ? get(*o.sink, {h}) : 0, reference = std::max(top, sunk ? sink : -inf);
        for (const double x : s) sum += x == -inf ? 0 : std::exp(x - reference);
        if (sunk) sum += std::exp(sink - reference);
        if (sum > 0) r.lse[row] = reference + std::log(sum);
        for (std::int64_t j = 0; j < M; ++j) {
          const double x = s[std::size_t(j)];
          if (x == -inf) continue;
          const double w = softmax                             ? std::exp(x - reference) / sum
                           : o.weighting == Weighting::sigmoid ? 1 / (1 + std::exp(-x))
                                                               : std::max(x, 0.0) / double(nk);
          r.weights[row * std::size_t(M) + std::size_t(j)] = w;
          r.columns[std::size_t((b * H + h) * M + j)] += w;
          for (std::int64_t e = 0; e < E; ++e) {
            const double part = w * double(get(c.v, {b, j, g, e}));
            r.out[std::size_t(((b * N + i) * H + h) * E + e)] += part;
            r.mass[std::size_t(((b * N + i) * H + h) * E + e)] += std::abs(part);
          }
        }
      }
  return r;
}

inline std::vector<Isa> isas() {
  std::vector<Isa> result;
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx, Isa::avx512_bf16_emulated, Isa::amx_emulated})
    if (runs_here(isa)) result.push_back(isa);
  return result;
}

inline Tensor spoiled(DType dtype, const Shape& shape) {
  const Tensor t(dtype, shape);
  std::memset(t.data<char>(), 0xff, std::size_t(shape.count()) * size_of(dtype));  // NaN in each of the float types
  return t;
}

inline Case random_case(Random& r) {
  Case c;
  const DType dtype = std::array{DType::f32, DType::f32, DType::bf16, DType::f16}[std::size_t(r.whole(0, 3))];
  const auto length = [&] { return r.chance(10) ? r.whole(0, 1) : r.chance(20) ? r.whole(250, 300) : r.whole(1, 100); };
  const int B = r.whole(1, 2), G = r.whole(1, 2), H = G * r.whole(1, 3), D = r.whole(1, 80), E = r.whole(1, 80);
  const int N = r.chance(30) ? r.whole(1, 7) : length(), M = r.chance(5) ? 1300 : length();
  c.q = r.permuted(B, N, H, D, dtype), c.k = r.permuted(B, M, G, D, dtype), c.v = r.permuted(B, M, G, E, dtype);
  AttendOptions& o = c.options;
  c.kept.reserve(10);
  o.weighting = Weighting(r.whole(0, 3));
  o.causal = r.chance(40);
  if (r.chance(30)) o.window_left = r.whole(0, 60);
  if (r.chance(20)) o.window_right = r.whole(0, 60);
  if (r.chance(20)) o.first_keys = r.whole(1, 40);
  if (r.chance(15)) o.dilation = r.whole(2, 5);
  if (r.chance(30)) o.scale = 0.1f * float(r.whole(-5, 5)) / std::sqrt(float(D)) * 4;
  if (r.chance(25)) o.softcap = float(r.whole(1, 20)) * 0.5f;
  if (r.chance(25)) o.bias = c.keep(r.floats(r.part({B, H, N, M})));
  if (r.chance(25)) o.mask = c.keep(r.bools(r.part({B, H, N, M}), 70));
  if (r.chance(20)) o.alibi_slopes = c.keep(r.floats(Shape{H}));
  if (o.weighting == Weighting::softmax && r.chance(40)) o.sink = c.keep(r.floats(Shape{H}));
  if (r.chance(25)) o.key_lengths = c.keep(r.lengths(B, M));
  if (r.chance(25)) o.query_lengths = c.keep(r.lengths(B, N));
  if (r.chance(25)) {
    const int rows = r.whole(1, 70), columns = r.whole(1, 70);
    o.blocks = BlockMask{c.keep(r.bools(r.part({B, H, (N + rows - 1) / rows, (M + columns - 1) / columns}), 60)), rows, columns};
  }
  return c;
}

}  // namespace heed::attend_cases
