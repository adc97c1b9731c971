// SPDX-License-Identifier: Apache-2.0
// The algebra that joins partial results of softmax over disjoint keys.
#include <limits>

#include "heed/ops.h"

namespace heed {
inline namespace v0 {

std::pair<Tensor, Tensor> Ops::merge(const Tensor& out_a, const Tensor& lse_a, const Tensor& out_b, const Tensor& lse_b) const {
  if (out_a.rank() != 4 || out_b.shape() != out_a.shape()) fail("out_b", out_a.shape().text(), out_b.shape().text());
  const Shape rows{out_a.extent(0), out_a.extent(2), out_a.extent(1)};
  if (lse_a.shape() != rows || lse_b.shape() != rows) fail("lse_a, lse_b", rows.text(), lse_a.shape().text() + ", " + lse_b.shape().text());
  // A row without keys has -inf; a number so low that its weight is 0 keeps differences finite.
  constexpr float low = -1e30f, infinity = std::numeric_limits<float>::infinity();
  const auto finite = [&](const Tensor& lse) { return where(less(lse, full({}, low)), full({}, low), lse); };
  const Tensor a = finite(lse_a), b = finite(lse_b), top = no_gradient(maximum(a, b), "any reference gives the same");
  const Tensor share_a = exp(sub(a, top)), share_b = exp(sub(b, top)), sum = add(share_a, share_b);
  const auto column = [](const Tensor& x) { return x.transpose(1, 2).reshape({x.extent(0), x.extent(2), x.extent(1), 1}); };
  const Tensor out = add(mul(out_a, column(div(share_a, sum))), mul(out_b, column(div(share_b, sum))));
  const Tensor lse = add(top, log(sum));
  return {out, where(less(lse, full({}, low / 2)), full({}, -infinity), lse)};
}

}  // namespace v0
}  // namespace heed
