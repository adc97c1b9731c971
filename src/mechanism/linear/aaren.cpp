// SPDX-License-Identifier: Apache-2.0
// Attention as an RNN (Feng et al., 2024): one learned query a head, whatever the input, so that attention over a growing prefix,
//   out_t = sum_{i <= t} exp(s_i) v_i / sum_{i <= t} exp(s_i),   s_i = scale q_h . k_i,
// is a scan of (maximum, sum, weighted sum): a state that decays by exp(m_{t-1} - m_t) when the maximum grows.
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Aaren : Mechanism {
  Tensor q, k, v, x, kv_kernel, q_kernel, to_out_weight, to_out_bias, out, m, u;
  std::optional<std::int64_t> heads, dim, dim_inner, dim_out;
  std::optional<double> scale;
  std::string head_merge;

  void describe(Declaration& d) override {
    const bool module = !head_merge.empty();
    d.param("heads", heads, "heads").least(1).computed("H");
    d.param("scale", scale, "of the scores").computed("1/sqrt(D); of the module 1");
    d.param("head_merge", head_merge, "mean makes this the module").one_of({"", "mean"});
    d.param("dim", dim, "width of x").least(1).computed("C");
    d.param("dim_inner", dim_inner, "width of a head of the module").least(1).computed("D");
    d.param("dim_out", dim_out, "width of the module's output").least(1).computed("O");
    const std::string H = heads ? "heads" : "H", C = dim ? "dim" : "C", D = module && dim_inner ? "dim_inner" : "D",
                      O = dim_out ? "dim_out" : "O";
    d.input("q", q, H + " D", "the learned query token").when(!module, "no head_merge");
    d.input("k", k, "B N " + H + " D", "keys").when(!module, "no head_merge");
    d.input("v", v, "B N " + H + " E", "values").when(!module, "no head_merge");
    d.input("x", x, "B N " + C, "tokens").when(module, "head_merge=mean");
    d.weight("kv_kernel", kv_kernel, C + " " + H + " " + D + " 2", "key, value").when(module, "head_merge=mean");
    d.weight("q_kernel", q_kernel, H + " " + D).when(module, "head_merge=mean");
    d.weight("to_out.weight", to_out_weight, O + " " + D).when(module, "head_merge=mean");
    d.weight("to_out.bias", to_out_bias, O).when(module, "head_merge=mean");
    d.size("O", "C");
    d.output("out", out, module ? "B N " + O : "B N " + H + " E");
    d.output("m", m, "B N " + H, "the largest score so far");
    d.output("u", u, "B N " + H, "sum of exp(s_i - m)");
  }

  Tensor attend(const Ops& ops, const Tensor& query, const Tensor& keys, const Tensor& values, double factor) {
    const auto B = keys.extent(0), N = keys.extent(1), H = keys.extent(2);
    const Tensor score = ops.scale(ops.sum(ops.mul(keys, query), {3}), float(factor));
    m = ops.cummax(score, 1);
    const Tensor reference = ops.no_gradient(m, "the sums do not depend on the reference they are kept against").reshape({B, N, H, 1});
    const Tensor terms = ops.exp(ops.sub(score.reshape({B, N, H, 1}), reference));
    const Tensor before = N > 0 ? ops.concat({reference.slice(1, 0, 1), reference.slice(1, 0, N - 1)}, 1) : reference;
    const auto [sums, total, last, last_sum] =
        ops.scan(ops.full({B, N, H, 1}, 1), terms, values, {.decay = ops.sub(before, reference)}, {}, want_sum);
    // u is kept against the maximum itself, whose gradient it has.
    u = ops.mul(total, ops.exp(ops.sub(reference.reshape(m.shape()), m)));
    return ops.div(sums, total.reshape({B, N, H, 1}));
  }

  void run(Ops& ops) override {
    if (head_merge.empty()) {
      out = attend(ops, q, k, v, scale.value_or(1 / std::sqrt(double(k.extent(3)))));
      return;
    }
    const auto B = x.extent(0), N = x.extent(1), C = x.extent(2), H = q_kernel.extent(0), D = q_kernel.extent(1);
    const Tensor kv = ops.linear(x, kv_kernel.reshape({C, H * D * 2}).transpose(0, 1)).reshape({B, N, H, D, 2});
    const auto part = [&](std::int64_t i) { return kv.slice(4, i, 1).reshape({B, N, H, D}); };
    out = ops.linear(ops.mean(attend(ops, q_kernel, part(0), part(1), scale.value_or(1)), {2}), to_out_weight, to_out_bias);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(aaren, Aaren, "aaren", "linear", "module", 2, "Attention as an RNN")
