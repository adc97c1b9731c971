// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention: H query heads share G key and value heads, H % G == 0.
#include "mechanism/attention.h"

HEED_MECHANISM(gqa, Attention, "gqa", "dense", "op", 1, "")
