// SPDX-License-Identifier: Apache-2.0
// Sparse linear maps along the spatial axes of x[B, C, *spatial], one an axis: averages of windows and resampling.
#pragma once
#include <vector>

#include "heed/ops.h"

namespace heed::ops {

/// out[o] = sum over e in [begin[o], begin[o + 1]) of weight[e] x[index[e]].
struct AxisMap {
  std::int64_t in = 0;
  std::vector<std::int64_t> begin{0};
  std::vector<std::int32_t> index;
  std::vector<float> weight;

  std::int64_t out() const { return std::int64_t(begin.size()) - 1; }
  void add(std::int64_t from, double factor) {
    index.push_back(std::int32_t(from));
    weight.push_back(float(factor));
  }
  /// The next output begins.
  void close() { begin.push_back(std::int64_t(index.size())); }
  AxisMap transposed() const;
  bool same() const;  ///< the identity
};

/// The maps applied to the last axes, one map each. Its derivative is the same with the maps transposed.
Tensor separable(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps);
/// The largest of the entries in place of the weighted sum; values only, NaN wins.
Tensor separable_max(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps);

}  // namespace heed::ops
