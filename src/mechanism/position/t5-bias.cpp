// SPDX-License-Identifier: Apache-2.0
// T5's relative bias: scores gain table[bucket(j - p), h]. Half of the buckets are exact distances, the rest grow
// logarithmically up to max_distance (Raffel et al., 2020).
#include <algorithm>

#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct T5Bias : CausalAttention {
  Tensor table;
  std::int64_t num_buckets = 32, max_distance = 128;
  bool bidirectional = false;
  T5Bias() { scale = 1.0; }

  void describe(Declaration& d) override {
    Attention::describe(d);
    d.param("num_buckets", num_buckets, "rows of the table").least(4);
    d.param("max_distance", max_distance, "distances beyond it share the last bucket").least(2);
    d.param("bidirectional", bidirectional, "half of the buckets for later keys");
    d.weight("relative_attention_bias.weight", table, "num_buckets H", "one bias a bucket and head");
  }

  std::int64_t bucket(std::int64_t relative) const {
    std::int64_t first = 0, buckets = num_buckets, distance = std::max<std::int64_t>(-relative, 0);
    if (bidirectional) {
      buckets /= 2;
      if (relative > 0) first = buckets;
      distance = std::abs(relative);
    }
    const std::int64_t exact = buckets / 2;
    if (distance < exact) return first + distance;
    const double grown =
        std::log(double(distance) / double(exact)) / std::log(double(max_distance) / double(exact)) * double(buckets - exact);
    return first + std::min(exact + std::int64_t(grown + 1e-9), buckets - 1);  // exact where it is a whole number
  }

  void run(Ops& ops) override {
    if (max_distance <= num_buckets / (bidirectional ? 4 : 2))
      fail("parameter max_distance", "more than the exact buckets", std::to_string(max_distance));
    const Tensor index = pairs<std::int64_t>(DType::i64, [this](auto p, auto j) { return bucket(j - p); });
    const Tensor added = ops.embedding(table, index).permute({0, 3, 1, 2});
    attend(ops, q, k, v, attend_options(), {with_bias(ops, added), alibi_slopes, sink});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(t5_bias, T5Bias, "t5-bias", "position", "op", 1, "")
