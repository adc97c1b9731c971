// SPDX-License-Identifier: Apache-2.0
#include "heed/attend.h"

#include "ops/ops.h"

namespace heed {
inline namespace v0 {

Attended Ops::attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options, unsigned extras) const {
  if (!q.defined() || q.rank() != 4) fail("q", "[B, N, H, D]", q.defined() ? q.shape().text() : "none");
  if (!k.defined() || k.rank() != 4) fail("k", "[B, M, G, D]", k.defined() ? k.shape().text() : "none");
  if (!v.defined() || v.rank() != 4) fail("v", "[B, M, G, E]", v.defined() ? v.shape().text() : "none");
  const std::int64_t batch = q.extent(0), queries = q.extent(1), heads = q.extent(2), keys = k.extent(1);
  Attended result;
  AttendExtras into;
  const auto make = [&](unsigned bit, const Shape& shape, Tensor& tensor, std::optional<View>& view) {
    if (!(extras & bit)) return;
    tensor = Tensor(DType::f32, shape);
    view = tensor.view();
  };
  make(want_lse, {batch, heads, queries}, result.lse, into.lse);
  make(want_row_max, {batch, heads, queries}, result.row_max, into.row_max);
  make(want_column_sums, {batch, heads, keys}, result.column_sums, into.column_sums);
  make(want_weights, {batch, heads, queries, keys}, result.weights, into.weights);
  result.out = Tensor(q.dtype(), {batch, queries, heads, v.extent(3)});
  heed::attend(q, k, v, result.out, options, into, context_);
  return result;
}

}  // namespace v0
}  // namespace heed
