// SPDX-License-Identifier: Apache-2.0
// Higher-order attention (Alman and Song, 2023; two-simplicial attention): a query is compared with tuples of keys at once.
//   logit of (j1, ..., jp-1) = scale sum_d q_d k1_{j1 d} k2_{j2 d} ...,  one softmax over all tuples,
//   out = sum of weight * (v1_{j1} * v2_{j2} * ...)
// The tuples' keys and values are rows of the Khatri-Rao products, which attention then reads like any others.
#include <algorithm>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct KroneckerAttention : Mechanism {
  Tensor q, out, weights;
  std::vector<Tensor> keys, values;
  std::optional<double> scale;
  bool causal = false;
  std::optional<std::int64_t> num_heads, num_kv_heads;
  std::int64_t order = 3;

  void describe(Declaration& d) override {
    d.param("scale", scale, "score scale").computed("1/D");
    d.param("causal", causal, "query i sees tuples whose every member is j <= i");
    d.param("num_heads", num_heads, "query heads").computed("H");
    d.param("num_kv_heads", num_kv_heads, "heads of keys and values; query head h reads h // (H/Hk)").computed("Hk");
    d.param("order", order, "p: p - 1 sets of keys and of values").least(2).most(6);
    d.input("q", q, "B N num_heads D", "queries");
    std::string tuple;
    keys.resize(std::size_t(order - 1)), values.resize(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::string n = std::to_string(i + 1);
      d.input("k" + n, keys[i], "B N" + n + " num_kv_heads D", "keys of set " + n);
      d.input("v" + n, values[i], "B N" + n + " num_kv_heads E", "their values");
      d.size("N" + n, "N");
      tuple += " N" + n;
    }
    d.size("N", "128");
    d.output("out", out, "B N num_heads E");
    d.output("weights", weights, "B num_heads N" + tuple, "one axis a set");
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2);
    /// Row (j, rest) of the product is first_j * others_rest.
    const auto product = [&](const Tensor& first, const Tensor& others) {
      const auto M = first.extent(1), R = others.extent(1), G = first.extent(2), D = first.extent(3);
      return ops.mul(first.reshape({B, M, 1, G, D}), others.reshape({B, 1, R, G, D})).reshape({B, M * R, G, D});
    };
    Tensor k, v;
    std::vector<std::int64_t> lengths;
    for (std::size_t i = keys.size(); i-- > 0;) {
      k = k.defined() ? product(keys[i], k) : keys[i];
      v = v.defined() ? product(values[i], v) : values[i];
      lengths.insert(lengths.begin(), keys[i].extent(1));
    }
    AttendOptions o;
    o.scale = float(scale.value_or(1 / double(q.extent(3))));
    Tensor mask;
    if (causal) {
      const auto M = k.extent(1);
      mask = Tensor(DType::boolean, {1, 1, N, M});
      for (std::int64_t j = 0; j < M; ++j) {
        std::int64_t furthest = 0, rest = j;
        for (auto length = lengths.rbegin(); length != lengths.rend(); rest /= *length++) furthest = std::max(furthest, rest % *length);
        for (std::int64_t i = 0; i < N; ++i) mask.data<std::uint8_t>()[i * M + j] = furthest <= i;
      }
      o.mask = mask.view();
    }
    out = attend_into(ops, q, k, v, o, wants(weights) ? &weights : nullptr);
    if (!wants(weights)) return;
    lengths.insert(lengths.begin(), {B, H, N});
    weights = weights.reshape(Shape(lengths));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(kronecker_attention, KroneckerAttention, "kronecker-attention", "dense", "op", 2,
               "How to Capture Higher-order Correlations? Generalizing Matrix Softmax Attention to Kronecker Computation")
