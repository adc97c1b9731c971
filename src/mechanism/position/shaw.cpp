// SPDX-License-Identifier: Apache-2.0
// Relative position vectors on keys and values (Shaw et al., 2018): with c = clip(j - p, -m, m) + m,
//   score = scale q (k_j + a_c),   out = sum_j w_j (v_j + b_c).
#include <algorithm>

#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct Shaw : Attention {
  Tensor key_table, value_table;
  std::int64_t max_distance = 16;

  void describe(Declaration& d) override {
    Attention::describe(d);
    d.param("max_distance", max_distance, "distances are clipped to it").least(1);
    d.weight("key_table", key_table, "2*max_distance+1 D", "added to the keys");
    d.weight("value_table", value_table, "2*max_distance+1 E", "added to the values");
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), M = k.extent(1), D = q.extent(3), C = 2 * max_distance + 1;
    if (softcap != 0) fail("parameter softcap", "0: the relative term enters before a cap", std::to_string(softcap));
    // q a_c for every class c, then the class of each pair.
    const Tensor index = pairs<std::int64_t>(DType::i64, [this](auto p, auto j) {
                           return std::clamp(j - p, -max_distance, max_distance) + max_distance;
                         }).reshape({sequences(), 1, N, M});
    const float by = scale ? float(*scale) : 1.f / std::sqrt(float(D));
    const Tensor terms = ops.scale(ops.linear(q.permute({0, 2, 1, 3}), key_table), by);
    const Shape all{B, H, N, M};
    const Tensor classes = index.broadcast(all);
    const Tensor relative = ops.gather(terms, 3, classes);
    wanted.insert(&weights);
    attend(ops, q, k, v, attend_options(), {bias.defined() ? ops.add(relative, bias) : relative, alibi_slopes, sink});
    // The weight of each class times its vector.
    const Tensor sums = ops.scatter_add(weights, 3, classes, C);
    out = ops.add(out, ops.matmul(sums, value_table).permute({0, 2, 1, 3}));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(shaw, Shaw, "shaw", "position", "op", 1, "")
