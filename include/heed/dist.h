// SPDX-License-Identifier: Apache-2.0
// Attention over a sequence that MPI processes share: library heed_dist. Process r of a communicator of P owns tokens
// [r n, (r + 1) n) with n = ceil(N / P); the last ones may own fewer or none. Every call is collective.
#pragma once
#include <mpi.h>

#include <optional>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

struct RingOptions {
  std::int64_t causal_block = 0;   ///< query i sees keys j with j / block <= i / block; 1 is causal, 0 is all
  std::optional<Tensor> bias;      ///< f32 (B, 1, 1, n) of this process's tokens, added to the scores of its keys
  std::optional<Tensor> segments;  ///< i64 (B, n): a query sees the keys of its own segment
};

struct RingAttended {
  Tensor out, lse;              ///< f32 (B, n, H, E), (B, H, n) natural
  std::int64_t bytes_sent = 0;  ///< of keys and values that this process passed on
};

/// Ring attention (Liu et al., 2023): q (B, n, H, D), k (B, n, Hk, D), v (B, n, Hk, E), f32, of this process's tokens; `tokens` is N.
/// Equals attention in one process within the rounding of the merges, the same bits run after run. Throws heed::Error naming the
/// argument; all processes must call with the same N, B, H and widths.
RingAttended ring_attend(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t tokens,
                         const RingOptions& options = {}, const Context& context = {});

struct RingGradients {
  Tensor q, k, v;
};

/// Gradients of the sum over all processes of out * out_gradient: keys and values travel again, with the gradients they gather.
RingGradients ring_attend_backward(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, const RingAttended& forward,
                                   const Tensor& out_gradient, std::int64_t tokens, const RingOptions& options = {},
                                   const Context& context = {});

/// Ring self-attention (Li et al., 2021) in two passes, P dividing N; scores are scaled by D^-0.5. No lse.
RingAttended ring_self_attend(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t tokens,
                              const Context& context = {});

}  // namespace v0
}  // namespace heed
