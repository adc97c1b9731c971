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
  std::map<std::string, Tensor> keys, values;
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
    std::vector<std::string> sets[2];
    for (std::int64_t i = 1; i < order; ++i) sets[0].push_back("k" + std::to_string(i)), sets[1].push_back("v" + std::to_string(i));
    d.inputs("k{i}", keys, "B M num_kv_heads D", "k1 to k(p-1): sets of keys, each of its own length").sample(sets[0]);
    d.inputs("v{i}", values, "B L num_kv_heads E", "v1 to v(p-1): their values").sample(sets[1]);
    d.size("N", "128");
    d.output("out", out, "B N num_heads E");
    d.output("weights", weights, "B num_heads N *tuple", "one axis a set");
  }

  void run(Ops& ops) override {
    const auto B = q.extent(0), N = q.extent(1), H = q.extent(2), sets = order - 1;
    if (std::int64_t(keys.size()) != sets || std::int64_t(values.size()) != sets)
      fail("inputs k{i}, v{i}", std::to_string(sets) + " of each", std::to_string(keys.size()) + " and " + std::to_string(values.size()));
    /// Row (j, rest) of the product is first_j * others_rest.
    const auto product = [&](const Tensor& first, const Tensor& others) {
      const auto M = first.extent(1), R = others.extent(1), G = first.extent(2), D = first.extent(3);
      return ops.mul(first.reshape({B, M, 1, G, D}), others.reshape({B, 1, R, G, D})).reshape({B, M * R, G, D});
    };
    Tensor k, v;
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = sets; i >= 1; --i) {
      const auto key = keys.find("k" + std::to_string(i)), value = values.find("v" + std::to_string(i));
      if (key == keys.end() || value == values.end())
        fail("inputs k{i}, v{i}", "1 to " + std::to_string(sets), "none of " + std::to_string(i));
      if (value->second.extent(1) != key->second.extent(1))
        fail("input " + value->first, std::to_string(key->second.extent(1)) + " rows, as " + key->first, value->second.shape().text());
      k = k.defined() ? product(key->second, k) : key->second;
      v = v.defined() ? product(value->second, v) : value->second;
      lengths.insert(lengths.begin(), key->second.extent(1));
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
