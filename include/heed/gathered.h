// SPDX-License-Identifier: Apache-2.0
// Attention in which each block of queries has keys of its own: what dynamic sparse attention chooses.
#pragma once
#include <optional>

#include "heed/attend.h"

namespace heed {
inline namespace v0 {

/// Set (b H + h) R + r holds the keys of queries [r query_block, (r + 1) query_block) of head h; R = ceil(N / query_block).
struct KeySets {
  View offsets;  ///< i64 (B H R + 1), from 0 to the length of `index`, never falling
  View index;    ///< i64, keys in [0, M), rising within a set
  std::int64_t query_block = 64;
};

/// attend() over the keys of the sets alone; shapes, dtypes and options as there, places of keys and their number (of relu's
/// weights) being those among all M. lse: f32 (B, H, N). Options that speak of pairs (dilation, bias, mask, alibi_slopes, blocks) are
/// refused. Work and memory grow with the sets, not with N M. No gradient. The same bits for any number of threads.
/// Throws heed::Error naming the argument.
void attend_gathered(const View& q, const View& k, const View& v, const View& out, const KeySets& sets, const AttendOptions& options = {},
                     const std::optional<View>& lse = {}, const Context& context = {});

}  // namespace v0
}  // namespace heed
