// SPDX-License-Identifier: Apache-2.0
// The tables behind loops_of.
#pragma once
#include "kernel/product.h"

namespace heed::product {
extern const Loops avx2_loops, avx512_loops, vnni_loops, avx512_bf16_loops, emulated_loops;
}
