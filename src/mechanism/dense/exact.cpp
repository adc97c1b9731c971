// SPDX-License-Identifier: Apache-2.0
// Exact attention with every option of the engine.
#include "mechanism/attention.h"

HEED_MECHANISM(exact, Attention, "exact", "dense", "op", 1, "")
