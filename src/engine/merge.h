// SPDX-License-Identifier: Apache-2.0
// Partial results of softmax over disjoint keys: (out not normalised, max, sum), merged in the order of the keys.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

namespace heed::engine {

/// Adds (out, max, sum) to (to_out, to_max, to_sum); maxima in units of log 2, -inf: nothing seen yet.
inline void merge(float* to_out, float& to_max, float& to_sum, const float* out, float max, float sum, std::int64_t width) {
  const float top = to_max < max ? max : to_max, reference = top == -std::numeric_limits<float>::infinity() ? 0.0f : top;
  const float keep = std::exp2(to_max - reference), take = std::exp2(max - reference);
  for (std::int64_t e = 0; e < width; ++e) to_out[e] = to_out[e] * keep + out[e] * take;
  to_sum = to_sum * keep + sum * take;
  to_max = top;
}

}  // namespace heed::engine
