// SPDX-License-Identifier: Apache-2.0
// Scores of queries against memories, as the sequence-to-sequence models compute them.
#pragma once
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// v . tanh(q_t + m_s): q (B, T, a), m (B, S, a), v of a elements (and bias of one) -> (B, T, S).
inline Tensor additive_scores(const Ops& ops, const Tensor& q, const Tensor& m, const Tensor& v, const Tensor& bias = {}) {
  const auto B = q.extent(0), T = q.extent(1), S = m.extent(1), a = q.extent(2);
  const Tensor both = ops.tanh(ops.add(q.reshape({B, T, 1, a}), m.reshape({B, 1, S, a})));
  return ops.linear(both, v.reshape({1, a}), bias).reshape({B, T, S});
}

/// (B, 1, S): true before each sequence's length.
inline Tensor before_lengths(const Tensor& lengths, std::int64_t S) {
  const auto B = lengths.extent(0);
  const Tensor mask(DType::boolean, {B, 1, S});
  for (std::int64_t b = 0; b < B; ++b) {
    const auto length = lengths.data<std::int64_t>()[b * lengths.stride(0)];
    for (std::int64_t s = 0; s < S; ++s) mask.data<std::uint8_t>()[b * S + s] = s < length;
  }
  return mask;
}

}  // namespace heed::mechanism
