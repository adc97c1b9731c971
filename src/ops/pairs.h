// SPDX-License-Identifier: Apache-2.0
// Operands of products of bf16: words of two neighbours, the first one low, rounded to nearest even; an odd one's neighbour is 0.
#pragma once
#include "heed/context.h"
#include "heed/tensor.h"

namespace heed::product {
struct Loops;
}

namespace heed::ops {

/// The loops that multiply words where the call says "fast" and the instruction set has them, else null.
const product::Loops* fast_loops(const Context& context);

/// x [outer, k, inner], dense f32, to words [outer, ceil(k / 2), inner], which stand in a tensor of f32.
Tensor pairs_of(const Context& context, const Tensor& x, std::int64_t outer, std::int64_t k, std::int64_t inner);

}  // namespace heed::ops
