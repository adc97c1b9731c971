// SPDX-License-Identifier: Apache-2.0
// Exact attention with every option of the engine.
#include "mechanism/attention.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

struct Exact : Attention, CachedMixer {
  AttendOptions mixing() override { return attend_options(); }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(exact, Exact, "exact", "dense", "op", 1, "")
