// SPDX-License-Identifier: Apache-2.0
// Products of weights with the windows of maps, and products of weights with what windows are added up to (their transposes).
#pragma once
#include "heed/context.h"
#include "ops/reading.h"

namespace heed::product {
struct Loops;
}

namespace heed::ops {

/// Dense maps [batch, groups * channels, *in], weight [groups * outputs, channels * taps] and out [batch, groups * outputs, *out];
/// `start` [groups * outputs]: what the sums begin with.
struct WindowProduct {
  const float *maps, *weight, *start;
  float* out;
  std::int64_t batch, groups, channels, outputs;
  const product::Loops* loops = nullptr;  ///< of words (ops/pairs.h), two channels each, where maps and weight are of words
};

/// Every element of out.
void multiply_windows(const Context& context, const Reading& reading, const WindowProduct& job);

/// The transpose: maps [batch, groups * channels, *s.out] spread over out [batch, groups * outputs, *s.in], with weight
/// [groups * channels, outputs * taps] as it is for windows of `out`.
void spread_windows(const Context& context, const Sliding& s, const WindowProduct& job);

}  // namespace heed::ops
