// SPDX-License-Identifier: Apache-2.0
// Reductions sum in f64, each lane in its own order, so the number of threads does not matter.
#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// value(first, length) of each lane over `axes`.
template <class F>
Tensor reduce(int threads, const Tensor& x, const std::vector<int>& axes, bool keepdim, F&& value) {
  need(x, DType::f32, "x");
  std::vector<bool> gone(std::size_t(x.rank()), false);
  for (int axis : axes) {
    const auto i = std::size_t(axis_of(axis, x.rank()));
    if (gone[i]) fail("axes", "each axis once", std::to_string(axis) + " again");
    gone[i] = true;
  }
  std::vector<int> order, last;
  std::vector<std::int64_t> extents;
  std::int64_t length = 1, count = 1;
  for (int i = 0; i < x.rank(); ++i) {
    (gone[std::size_t(i)] ? last : order).push_back(i);
    (gone[std::size_t(i)] ? length : count) *= x.extent(i);
    if (!gone[std::size_t(i)])
      extents.push_back(x.extent(i));
    else if (keepdim)
      extents.push_back(1);
  }
  order.insert(order.end(), last.begin(), last.end());
  const Tensor from = x.with_origin(nullptr).permute(order).dense();
  Tensor out(DType::f32, Shape(extents));
  pieces(threads, count, 16384 / std::max<std::int64_t>(length, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out.raw<float>()[i] = value(from.raw<float>() + i * length, length);
  });
  return out;
}

/// body(lane of x, lane of out, length) with the axis moved last and back.
template <class F>
Tensor along(int threads, const Tensor& x, int axis, F&& body) {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.with_origin(nullptr).transpose(axis, x.rank() - 1).dense();
  const std::int64_t length = x.extent(axis);
  Tensor out(DType::f32, from.shape());
  if (length != 0)
    pieces(threads, x.count() / length, 16384 / length, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) body(from.raw<float>() + i * length, out.raw<float>() + i * length, length);
    });
  return out.transpose(axis, x.rank() - 1).dense();
}

/// The logarithm of the sum of exponentials.
float log_sum(const kernel::ElementTable& loops, const float* x, std::int64_t n) {
  const float top = loops.largest(x, n);
  if (std::isinf(top)) return top;
  double total = 0;
  float room[1024];
  for (std::int64_t i = 0; i < n; i += 1024) total += loops.exp_sum(x + i, std::min<std::int64_t>(1024, n - i), top, room);
  return float(top + std::log(total));
}

/// Sums over axes that are neighbours and not the last, times `factor`: rows added to rows, no copy.
Tensor sum_rows(const Context& context, const Tensor& x, const Shape& shape, int first, int axes, double factor) {
  const Tensor from = x.with_origin(nullptr).dense();
  std::int64_t outer = 1, extent = 1, inner = 1;
  for (int i = 0; i < x.rank(); ++i) (i < first ? outer : i < first + axes ? extent : inner) *= x.extent(i);
  Tensor out(DType::f32, shape);
  constexpr std::int64_t block = 256;
  const std::int64_t blocks = (inner + block - 1) / block;
  pieces(context.threads, outer * blocks, 65536 / std::max<std::int64_t>(1, extent * std::min(inner, block)),
         [&](std::int64_t begin, std::int64_t end) {
           for (std::int64_t job = begin; job < end; ++job) {
             const std::int64_t o = job / blocks, c = job % blocks * block, wide = std::min(block, inner - c);
             double sums[block] = {};
             kernel::elements_of(context.isa).add_rows(from.raw<float>() + o * extent * inner + c, extent, inner, wide, sums);
             for (std::int64_t i = 0; i < wide; ++i) out.raw<float>()[o * inner + c + i] = float(sums[i] * factor);
           }
         });
  return out;
}

/// The sum over axes times `factor`.
Tensor summed(const Context& context, const Tensor& x, const std::vector<int>& axes, bool keepdim, bool mean) {
  need(x, DType::f32, "x");
  int first = x.rank(), last = -1, count = 0;
  std::vector<bool> gone(std::size_t(x.rank()), false);
  std::vector<std::int64_t> extents = x.shape().vector();
  std::int64_t length = 1;
  for (const int axis : axes) {
    const int i = axis_of(axis, x.rank());
    first = std::min(first, i), last = std::max(last, i), count += !gone[std::size_t(i)];
    gone[std::size_t(i)] = true;
    length *= x.extent(i);
  }
  const double factor = mean ? 1 / double(length) : 1;
  if (count && last - first + 1 == int(axes.size()) && count == int(axes.size()) && last < x.rank() - 1 && x.raw_view().contiguous() &&
      x.count()) {
    if (keepdim)
      std::fill(extents.begin() + first, extents.begin() + last + 1, 1);
    else
      extents.erase(extents.begin() + first, extents.begin() + last + 1);
    return sum_rows(context, x, Shape(extents), first, count, factor);
  }
  const auto& loops = kernel::elements_of(context.isa);
  return reduce(context.threads, x, axes, keepdim, [&](const float* v, std::int64_t n) { return float(loops.sum(v, n) * factor); });
}

void some(std::int64_t n, const Tensor& x) {
  if (n == 0) fail("x", "something to compare along the axis", x.shape().text());
}

}  // namespace

namespace {

/// g, whose `axes` are gone or 1, stretched over them again.
Tensor spread(const Tensor& g, const Shape& shape, const std::vector<int>& axes) {
  auto extents = shape.vector();
  for (int axis : axes) extents[std::size_t(axis_of(axis, shape.rank()))] = 1;
  return g.reshape(Shape(extents)).broadcast(shape);
}

/// Goes to the extreme elements, in equal parts.
std::vector<Tensor> pull_extreme(const Pull& p, const Tensor& x, const std::vector<int>& axes) {
  const Ops& o = p.ops;
  const Tensor best = spread(p.output(), x.shape(), axes);
  const Tensor ours = o.where(o.equal(x, best), o.full({}, 1), o.full({}, 0));
  return {o.mul(o.div(ours, o.sum(ours, axes, true)), spread(p.gradient(), x.shape(), axes))};
}

}  // namespace

Tensor Ops::sum(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record("sum", summed(context_, x, axes, keepdim, false), {&x},
                [s = x.shape(), axes](const Pull& p) -> std::vector<Tensor> { return {spread(p.gradient(), s, axes)}; });
}

Tensor Ops::sum_to(const Tensor& x, const Shape& shape) const {
  if (x.shape() == shape) return x;
  const int lead = x.rank() - shape.rank();
  std::vector<int> axes;
  for (int i = 0; i < x.rank(); ++i) {
    if (i < lead || (shape[i - lead] == 1 && x.extent(i) != 1))
      axes.push_back(i);
    else if (shape[i - lead] != x.extent(i))
      fail("shape", "one that broadcasts to " + x.shape().text(), shape.text());
  }
  if (lead < 0) fail("shape", "one that broadcasts to " + x.shape().text(), shape.text());
  return sum(x, axes).reshape(shape);
}

Tensor Ops::mean(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  const Tensor out = summed(context_, x, axes, keepdim, true);
  return record("mean", out, {&x},
                [s = x.shape(), axes, n = double(x.count()) / double(out.count())](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.scale(spread(p.gradient(), s, axes), float(1 / n))};
                });
}

Tensor Ops::max(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record(
      "max",
      reduce(context_.threads, x, axes, keepdim,
             [&](const float* v, std::int64_t n) {
               some(n, x);
               return kernel::elements_of(context_.isa).largest(v, n);
             }),
      {&x}, [x, axes](const Pull& p) { return pull_extreme(p, x, axes); }, true);
}

Tensor Ops::min(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record(
      "min",
      reduce(context_.threads, x, axes, keepdim,
             [&](const float* v, std::int64_t n) {
               some(n, x);
               float best = infinity;
               for (std::int64_t i = 0; i < n; ++i) best = v[i] < best || v[i] != v[i] ? v[i] : best;
               return best;
             }),
      {&x}, [x, axes](const Pull& p) { return pull_extreme(p, x, axes); }, true);
}

Tensor Ops::argmax(const Tensor& x, int axis, bool keepdim) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  auto extents = x.shape().vector();
  if (keepdim)
    extents[std::size_t(axis)] = 1;
  else
    extents.erase(extents.begin() + axis);
  Tensor out(DType::i64, Shape(extents));
  for (std::int64_t o = 0; o < cut.outer; ++o)
    for (std::int64_t i = 0; i < cut.inner; ++i) {
      some(cut.extent, x);
      const float* lane = from.raw<float>() + o * cut.extent * cut.inner + i;
      std::int64_t best = 0;
      for (std::int64_t e = 1; e < cut.extent; ++e) {
        const float value = lane[e * cut.inner], top = lane[best * cut.inner];
        if (top == top && (value > top || value != value)) best = e;
      }
      out.raw<std::int64_t>()[o * cut.inner + i] = best;
    }
  return out;
}

Tensor Ops::softmax(const Tensor& x, int axis) const {
  const Tensor out =
      along(context_.threads, x, axis, [&loops = kernel::elements_of(context_.isa)](const float* v, float* to, std::int64_t n) {
        const float top = loops.largest(v, n);
        if (top == -infinity) return void(std::fill_n(to, n, 0.0f));
        const float factor = float(1 / loops.exp_sum(v, n, top, to));
        loops.mul(to, 1, &factor, 0, n, to);
      });
  return record(
      "softmax", out, {&x},
      [axis](const Pull& p) -> std::vector<Tensor> {
        const Tensor y = p.output(), gy = p.ops.mul(p.gradient(), y);
        return {p.ops.sub(gy, p.ops.mul(y, p.ops.sum(gy, {axis}, true)))};
      },
      true);
}

Tensor Ops::log_softmax(const Tensor& x, int axis) const {
  const Tensor out =
      along(context_.threads, x, axis, [&loops = kernel::elements_of(context_.isa)](const float* v, float* to, std::int64_t n) {
        const float total = log_sum(loops, v, n);
        if (total == -infinity) return void(std::fill_n(to, n, -infinity));
        loops.sub(v, 1, &total, 0, n, to);
      });
  return record(
      "log_softmax", out, {&x},
      [axis](const Pull& p) -> std::vector<Tensor> {
        return {p.ops.sub(p.gradient(), p.ops.mul(p.ops.exp(p.output()), p.ops.sum(p.gradient(), {axis}, true)))};
      },
      true);
}

Tensor Ops::logsumexp(const Tensor& x, int axis, bool keepdim) const {
  return record("logsumexp",
                reduce(context_.threads, x, {axis}, keepdim,
                       [&loops = kernel::elements_of(context_.isa)](const float* v, std::int64_t n) { return log_sum(loops, v, n); }),
                {&x}, [x, axis](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.mul(spread(p.gradient(), x.shape(), {axis}), p.ops.softmax(x, axis))};
                });
}

Tensor Ops::cumsum(const Tensor& x, int axis) const {
  const Tensor out = along(context_.threads, x, axis, [](const float* v, float* to, std::int64_t n) {
    double total = 0;
    for (std::int64_t i = 0; i < n; ++i) to[i] = float(total += v[i]);
  });
  return record("cumsum", out, {&x}, [axis](const Pull& p) -> std::vector<Tensor> {  // sums from the end
    const Tensor& g = p.gradient();
    return {p.ops.add(p.ops.sub(p.ops.sum(g, {axis}, true), p.ops.cumsum(g, axis)), g)};
  });
}

}  // namespace v0
}  // namespace heed
