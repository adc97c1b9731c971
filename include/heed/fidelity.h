// SPDX-License-Identifier: Apache-2.0
// How near the predictions of one way of attending are to another's, token by token, in the terms of llama.cpp's perplexity tool.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "heed/model.h"

namespace heed {
inline namespace v0 {

/// One number for each scored token.
struct Fidelity {
  std::vector<float> loss;              ///< -ln of the probability that the true token was given
  std::vector<float> divergence;        ///< KL(reference || this) of the predictions, nats
  std::vector<float> delta;             ///< probability of the true token, less the reference's
  std::vector<unsigned char> same_top;  ///< 1 where the likeliest token is the reference's
};

/// The final states from which ids[from], ... ids[n - 1] are predicted, f32 (n - from, width), by `session`, which must be new:
/// the first `from` tokens are read together, the rest one at a time; from = 1: all of them together.
/// Throws Error for a `from` outside [1, n).
Tensor predicting_states(Session& session, std::span<const int> ids, std::int64_t from = 1);

/// What each of `states` (n, width), as predicting_states() gives them, says of `targets` (n), compared with the first of
/// them. `reader` turns states into logits: those of 128 positions exist at a time. `progress`, where given, is called with
/// the number of positions done.
std::vector<Fidelity> compare_states(const Session& reader, const std::vector<Tensor>& states, std::span<const int> targets,
                                     const std::function<void(std::int64_t)>& progress = {});

}  // namespace v0
}  // namespace heed
