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
    // q a_c for every class c, then the class of each pair.
    const Tensor index = pairs<std::int64_t>(DType::i64, [this](auto p, auto j) {
                           return std::clamp(j - p, -max_distance, max_distance) + max_distance;
                         }).reshape({sequences(), 1, N, M});
    const float by = scale ? float(*scale) : 1.f / std::sqrt(float(D));
    const Tensor terms = ops.scale(ops.linear(q.permute({0, 2, 1, 3}), key_table), by);
    const Shape all{B, H, N, M};
    const Tensor classes = index.broadcast(all);
    Tensor relative = ops.gather(terms, 3, classes);
    auto o = attend_options();
    if (softcap != 0) {  // of the whole score: it is added, capped, to a product of weight 0
      const auto G = k.extent(2);
      if (G < 1 || H % G) fail("input k", "a number of heads that divides " + std::to_string(H), k.shape().text());
      const Tensor grouped = q.permute({0, 2, 1, 3}).reshape({B, G, H / G * N, D});
      const Tensor content = ops.matmul(grouped, k.permute({0, 2, 3, 1})).reshape(all);
      const Tensor score = ops.add(ops.scale(content, by), relative);
      relative = ops.scale(ops.tanh(ops.scale(score, float(1 / softcap))), float(softcap));
      o.scale = 0, o.softcap = 0;
    }
    wanted.insert(&weights);
    attend(ops, q, k, v, o, {with_bias(ops, relative), alibi_slopes, sink});
    // The weight of each class times its vector.
    const Tensor sums = ops.scatter_add(weights, 3, classes, C);
    out = ops.add(out, ops.matmul(sums, value_table).permute({0, 2, 1, 3}));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(shaw, Shaw, "shaw", "position", "op", 1, "")
