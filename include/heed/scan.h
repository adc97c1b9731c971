// SPDX-License-Identifier: Apache-2.0
// A state carried along a sequence: linear attention, retention, gated linear attention, the delta rule.
//   S_t = diag(exp g_t) S_{t-1} + k_t u_t^T,   out_t = scale q_t S_t,   u_t = v_t, or with the delta rule
//   u_t = beta_t (v_t - k_t^T diag(exp g_t) S_{t-1})
#pragma once
#include <optional>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// both: forward over all tokens up to t plus reverse over those after t, each pair decayed by the tokens between them.
enum class Direction : std::uint8_t { forward, reverse, both };

/// Every option combines with each other.
struct ScanOptions {
  float scale = 1;
  std::optional<View> decay;                 ///< f32 natural logarithms g, broadcastable to (B, N, H, D); -inf forgets, above 0 grows
  std::optional<View> beta;                  ///< f32, broadcastable to (B, N, H): the delta rule
  std::optional<View> initial;               ///< f32 (B, H, D, E): the state before the first token; zeros
  std::optional<View> initial_sum;           ///< f32 (B, H, D): the same for the sum of the keys; zeros
  std::optional<View> lengths;               ///< i64 (B): tokens at and after it do not exist and give zeros
  Direction direction = Direction::forward;  ///< reverse: from the last token to the first. States belong to the forward pass of both
  bool exclusive = false;                    ///< out_t without its own k_t u_t^T (its decay counts)
  std::int64_t chunk = 0;                    ///< tokens computed as one block of products, at most 64; 1: token by token; 0: chosen
};

/// Outputs computed only where given. All f32, any strides.
struct ScanExtras {
  std::optional<View> sum;        ///< (B, N, H) scale q_t z_t, z_t = diag(exp g_t) z_{t-1} + k_t: what normalises; not with beta
  std::optional<View> final;      ///< (B, H, D, E) the state after the last token; may be the memory of `initial`
  std::optional<View> final_sum;  ///< (B, H, D); may be the memory of `initial_sum`
};

/// q (B, N, H, D); k (B, N, G, D); v (B, N, G, E), H % G == 0, query head h reads h / (H / G), with a state of its own; out (B, N, H, E).
/// q, k, v of one dtype among f32, bf16, f16; out of that dtype or f32. Sums and states are f32. D and E of any size.
/// Time and memory a token do not depend on N. The same bits for any number of threads. Throws heed::Error naming the argument.
void scan(const View& q, const View& k, const View& v, const View& out, const ScanOptions& options = {}, const ScanExtras& extras = {},
          const Context& context = {});

/// Gradients of what scan() gave. All f32.
struct ScanCotangents {
  std::optional<View> out;        ///< (B, N, H, E); absent: zeros
  std::optional<View> sum;        ///< (B, N, H)
  std::optional<View> final;      ///< (B, H, D, E)
  std::optional<View> final_sum;  ///< (B, H, D)
};

/// Where gradients go; all f32, overwritten, any strides.
struct ScanGradients {
  std::optional<View> q, k, v;  ///< shapes of q, k, v
  std::optional<View> decay;    ///< (B, N, H, D) where the last extent of the decay is D, else (B, N, H, 1): not summed over stretched axes
  std::optional<View> beta;     ///< (B, N, H)
  std::optional<View> initial;  ///< (B, H, D, E)
  std::optional<View> initial_sum;  ///< (B, H, D)
};

/// The derivative of scan(). States are computed again from a checkpoint every few thousand tokens: nothing is kept by the forward pass.
void scan_backward(const View& q, const View& k, const View& v, const ScanOptions& options, const ScanCotangents& cotangents,
                   const ScanGradients& gradients, const Context& context = {});

}  // namespace v0
}  // namespace heed
