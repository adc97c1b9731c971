// SPDX-License-Identifier: Apache-2.0
// Sums, means, maxima and softmax over segments of rows.
#include <limits>

#include "heed/ops.h"
#include "ops/rows_at.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// x seen as rows [E, inner], each of a segment.
struct Segments {
  Tensor rows, ids;
  Lanes cut;
  std::int64_t count;

  Segments(const Context& context, const Tensor& x, const Tensor& segment, std::int64_t segments) : count(segments) {
    need(x, DType::f32, "x");
    need(segment, DType::i64, "segment");
    if (x.rank() < 1 || segment.shape() != Shape{x.extent(0)})
      fail("segment", x.rank() < 1 ? "x [E, ...]" : Shape{x.extent(0)}.text(), segment.shape().text());
    rows = x.with_origin(nullptr).dense(context.threads), ids = indices(context, segment, segments, "segment"), cut = lanes(x.shape(), 0);
  }
  const std::int64_t* at() const { return ids.raw<std::int64_t>(); }
  /// reduce(row) into `start` of its segment, rows in order.
  Tensor reduced(const Context& context, kernel::ElementTable::At reduce, const Tensor& x, float start) const {
    Tensor out(DType::f32, with_axis(rows.shape(), 0, count));
    reduce_rows(
        context, reduce, x.raw<float>(), cut, count, start, [&](std::int64_t) { return at(); }, out.raw<float>());
    return out;
  }
  /// out[e] = with(x[e], y[segment of e]).
  void apply(const Context& context, kernel::ElementTable::With with, const Tensor& x, const Tensor& y, const Tensor& out) const {
    sweep(context.threads, cut.extent, 16384 / std::max<std::int64_t>(1, cut.inner), [&](std::int64_t begin, std::int64_t end) {
      with(x.raw<float>() + begin * cut.inner, y.raw<float>(), at() + begin, end - begin, cut.inner, out.raw<float>() + begin * cut.inner);
    });
  }
};

}  // namespace

Tensor Ops::segment_sum(const Tensor& x, const Tensor& segment, std::int64_t segments) const {
  const Segments by(context_, x, segment, segments);
  const Tensor out = by.reduced(context_, kernel::elements_of(context_.isa).add_at, by.rows, 0);
  return record("segment_sum", out, {&x},
                [segment](const Pull& p) -> std::vector<Tensor> { return {p.ops.index_select(p.gradient(), 0, segment)}; });
}

Tensor Ops::segment_mean(const Tensor& x, const Tensor& segment, std::int64_t segments) const {
  const Tensor total = segment_sum(x, segment, segments);
  auto extents = std::vector<std::int64_t>(std::size_t(x.rank()), 1);
  extents[0] = segments;
  const Tensor counts = Tensor::zeros(DType::f32, Shape(extents)), ids = segment.dense(context_.threads);
  for (std::int64_t e = 0; e < ids.count(); ++e) ++counts.raw<float>()[ids.raw<std::int64_t>()[e]];
  return div(total, maximum(counts, full({}, 1)));
}

Tensor Ops::segment_max(const Tensor& x, const Tensor& segment, std::int64_t segments) const {
  const Segments by(context_, x, segment, segments);
  const Tensor out = by.reduced(context_, kernel::elements_of(context_.isa).largest_at, by.rows, -std::numeric_limits<float>::infinity());
  return record(
      "segment_max", out, {&x},
      [x, segment, segments](const Pull& p) -> std::vector<Tensor> {
        const Tensor best = p.ops.index_select(p.ops.no_gradient(p.output(), "choice of the largest"), 0, segment),
                     none = p.ops.full({}, 0);
        const Tensor chosen = p.ops.equal(p.ops.no_gradient(x, "choice of the largest"), best), one = p.ops.full({}, 1);
        const Tensor ties = p.ops.segment_sum(p.ops.where(chosen, one, none).broadcast(x.shape()), segment, segments);
        const Tensor share = p.ops.div(p.gradient(), p.ops.maximum(ties, one));
        return {p.ops.where(chosen, p.ops.index_select(share, 0, segment), none)};
      },
      true);
}

Tensor Ops::segment_softmax(const Tensor& x, const Tensor& segment, std::int64_t segments) const {
  const auto& loops = kernel::elements_of(context_.isa);
  const Segments by(context_, x, segment, segments);
  const Tensor top = by.reduced(context_, loops.largest_at, by.rows, -std::numeric_limits<float>::infinity()), out(DType::f32, x.shape());
  by.apply(context_, loops.exp_at, by.rows, top, out);
  by.apply(context_, loops.share_at, out, by.reduced(context_, loops.add_at, out, 0), out);
  return record(
      "segment_softmax", out, {&x},
      [segment, segments](const Pull& p) -> std::vector<Tensor> {
        const Tensor y = p.output(), gy = p.ops.mul(p.gradient(), y);
        return {p.ops.sub(gy, p.ops.mul(y, p.ops.index_select(p.ops.segment_sum(gy, segment, segments), 0, segment)))};
      },
      true);
}

}  // namespace v0
}  // namespace heed
