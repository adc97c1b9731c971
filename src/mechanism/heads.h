// SPDX-License-Identifier: Apache-2.0
// Heads of a projection, and scores indexed by distance.
#pragma once
#include <array>
#include <memory>
#include <utility>

#include "heed/attend.h"
#include "mechanism/mechanism.h"
#include "heed/ops.h"

namespace heed::mechanism {

/// (B, N, H*D) -> (B, N, H, D).
inline Tensor split_heads(const Tensor& x, std::int64_t heads) {
  if (heads < 1 || x.extent(2) % heads) fail("heads", "a divisor of " + std::to_string(x.extent(2)), std::to_string(heads));
  return x.reshape({x.extent(0), x.extent(1), heads, x.extent(2) / heads});
}

/// (B, N, H, D) -> (B, N, H*D).
inline Tensor join_heads(const Tensor& x) { return x.reshape({x.extent(0), x.extent(1), x.extent(2) * x.extent(3)}); }

/// x (B, N, H, D) with the halves of its channels as pairs turned by cos, sin (N, D): x cos + (-second, first) sin.
inline Tensor rotate_half(const Ops& ops, const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const auto N = x.extent(1), D = x.extent(3), half = D / 2;
  if (D % 2) fail("heads", "an even width to rotate", std::to_string(D));
  if (cos.shape() != Shape{N, D}) fail("input cos", Shape{N, D}.text(), cos.shape().text());
  const Tensor turned = ops.concat({ops.neg(x.slice(3, half, D - half)), x.slice(3, 0, half)}, 3);
  return ops.add(ops.mul(x, cos.reshape({N, 1, D})), ops.mul(turned, sin.reshape({N, 1, D})));
}

/// x[b, h, i, i - j + N - 1] at (i, j), from x (B, H, N, 2N - 1).
inline Tensor by_distance(const Ops& ops, const Tensor& x) {
  const auto B = x.extent(0), H = x.extent(1), N = x.extent(2), S = x.extent(3);
  return ops.strided(x, {B, H, N, N}, {H * N * S, N * S, S + 1, -1}, N - 1);
}

/// q, k, v (B, N, H, D) attended; the weights only where `weights` is given.
inline Tensor attend_into(const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options, Tensor* weights,
                          const ScoreTerms& terms = {}) {
  auto got = ops.attend(q, k, v, options, weights ? unsigned(want_weights) : 0u, terms);
  if (weights) *weights = got.weights;
  return got.out;
}

/// (1, 1, N, N): true where visible(i, j).
template <class Visible>
Tensor square_mask(std::int64_t N, Visible visible) {
  const Tensor mask(DType::boolean, {1, 1, N, N});
  auto* at = mask.data<std::uint8_t>();
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j < N; ++j) *at++ = visible(i, j);
  return mask;
}

}  // namespace heed::mechanism
