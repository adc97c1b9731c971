// SPDX-License-Identifier: Apache-2.0
// A view of any strides (0 and negative ones too) laid out densely.
#pragma once
#include "heed/tensor.h"

namespace heed::base {

/// The elements of a view of any dtype, in row-major order, to memory that it does not reach. `threads` as in parallel(); few elements
/// stay on one thread.
void copy_dense(const View& from, void* to, int threads);

}  // namespace heed::base
