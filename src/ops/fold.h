// SPDX-License-Identifier: Apache-2.0
// Reductions along rows and down columns, as they lie in memory. Long ones are cut into parts of a size that the problem sets, put
// together in order, so the number of threads does not matter.
#pragma once
#include <vector>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed::ops {

enum class Fold : std::uint8_t { sum, largest, smallest };

/// x, f32, folded over axes (each once): neighbouring ones go together, the last ones first. A mean is a sum over their size.
Tensor folded(const Context& context, const Tensor& x, const std::vector<int>& axes, bool keepdim, Fold fold, bool mean = false);

}  // namespace heed::ops
