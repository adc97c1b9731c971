// SPDX-License-Identifier: Apache-2.0
// Sums, extremes and softmax along an axis, each lane in its own order, so the number of threads does not matter.
#include <cmath>
#include <limits>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/fold.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t block = 256;  // columns of a task

/// rows(first lane of x, of out, lanes, length) where lanes lie side by side, else columns(first of x, first of out, length, stride,
/// columns) of some lanes at once.
template <class Rows, class Columns>
Tensor along(int threads, const Tensor& x, int axis, Rows&& rows, Columns&& columns) {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.with_origin(nullptr).dense();
  const Lanes cut = lanes(x.shape(), axis);
  Tensor out(DType::f32, x.shape());
  if (x.count() == 0) return out;
  const float* source = from.raw<float>();
  float* to = out.raw<float>();
  if (cut.inner == 1) {
    sweep(threads, cut.outer, 16384 / cut.extent, [&](std::int64_t begin, std::int64_t end) {
      rows(source + begin * cut.extent, to + begin * cut.extent, end - begin, cut.extent);
    });
    return out;
  }
  const std::int64_t wide = std::clamp<std::int64_t>(32768 / cut.extent / 64 * 64, 64, block), blocks = (cut.inner + wide - 1) / wide;
  sweep(threads, cut.outer * blocks, 16384 / (cut.extent * std::min(wide, cut.inner)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t job = begin; job < end; ++job) {
      const std::int64_t c = job % blocks * wide, at = job / blocks * cut.extent * cut.inner + c;
      columns(source + at, to + at, cut.extent, cut.inner, std::min(wide, cut.inner - c));
    }
  });
  return out;
}

/// The logarithm of the sum of exponentials; `room` for n numbers.
float log_sum(const kernel::ElementTable& loops, const float* x, std::int64_t n, float* room) {
  const float top = loops.largest(x, n);
  return std::isinf(top) ? top : float(top + std::log(loops.exp_sum(x, n, top, room)));
}

/// top[c] and sums[c] of e^(x - top), which `to` becomes; 0 for the top of a column that is -inf throughout.
void exp_columns(const kernel::ElementTable& loops, const float* x, float* to, std::int64_t n, std::int64_t stride, std::int64_t wide,
                 float* top, double* sums) {
  std::fill_n(top, wide, -infinity);
  std::fill_n(sums, wide, 0.0);
  loops.largest_rows(x, n, stride, wide, top);
  for (std::int64_t c = 0; c < wide; ++c) top[c] = top[c] == -infinity ? 0 : top[c];
  loops.exp_rows(x, n, stride, wide, top, sums, to);
}

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

/// top += ln(sums), of at most a block of columns; one without a sum, and one with inf, keep their top.
void add_logs(const kernel::ElementTable& loops, const double* sums, std::int64_t n, float* top) {
  float logs[block]{};
  for (std::int64_t c = 0; c < n; ++c) logs[c] = float(sums[c]);
  loops.log(logs, n, logs);
  for (std::int64_t c = 0; c < n; ++c)
    if (sums[c] != 0 && top[c] != infinity) top[c] += logs[c];
}

}  // namespace

Tensor Ops::sum(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record("sum", folded(context_, x, axes, keepdim, Fold::sum), {&x},
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
  const Tensor out = folded(context_, x, axes, keepdim, Fold::sum, true);
  return record("mean", out, {&x},
                [s = x.shape(), axes, n = double(x.count()) / double(out.count())](const Pull& p) -> std::vector<Tensor> {
                  return {p.ops.scale(spread(p.gradient(), s, axes), float(1 / n))};
                });
}

Tensor Ops::max(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record(
      "max", folded(context_, x, axes, keepdim, Fold::largest), {&x}, [x, axes](const Pull& p) { return pull_extreme(p, x, axes); }, true);
}

Tensor Ops::min(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return record(
      "min", folded(context_, x, axes, keepdim, Fold::smallest), {&x}, [x, axes](const Pull& p) { return pull_extreme(p, x, axes); }, true);
}

Tensor Ops::argmax(const Tensor& x, int axis, bool keepdim) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  auto extents = x.shape().vector();
  if (keepdim)
    extents[std::size_t(axis)] = 1;
  else
    extents.erase(extents.begin() + axis);
  const Lanes cut = lanes(x.shape(), axis);
  Tensor out(DType::i64, Shape(extents));
  if (out.count() == 0) return out;
  if (cut.extent == 0) fail("x", "something to compare along the axis", x.shape().text());
  const auto& loops = kernel::elements_of(context_.isa);
  auto* to = out.raw<std::int64_t>();
  if (cut.inner == 1 || cut.extent >= 1 << 24) {
    const Tensor from = x.with_origin(nullptr).transpose(axis, x.rank() - 1).dense(context_.threads);
    const Lanes whole = lanes(from.shape(), x.rank() - 1);
    Tensor found(DType::i64, with_axis(from.shape(), x.rank() - 1, 1));
    sweep(context_.threads, whole.outer, 16384 / whole.extent, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const float* row = from.raw<float>() + i * whole.extent;
        found.raw<std::int64_t>()[i] = loops.find(row, whole.extent, loops.largest(row, whole.extent));
      }
    });
    return found.transpose(axis, x.rank() - 1).reshape(out.shape());
  }
  const Tensor from = x.with_origin(nullptr).dense(context_.threads);
  const std::int64_t blocks = (cut.inner + block - 1) / block;
  sweep(context_.threads, cut.outer * blocks, 16384 / (cut.extent * std::min(block, cut.inner)), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t job = begin; job < end; ++job) {
      const std::int64_t o = job / blocks, c = job % blocks * block, wide = std::min(block, cut.inner - c);
      const float* first = from.raw<float>() + o * cut.extent * cut.inner + c;
      float best[block];
      std::fill_n(best, wide, -infinity);
      loops.largest_rows(first, cut.extent, cut.inner, wide, best);
      loops.find_rows(first, cut.extent, cut.inner, wide, best, to + o * cut.inner + c);
    }
  });
  return out;
}

Tensor Ops::softmax(const Tensor& x, int axis) const {
  const auto& loops = kernel::elements_of(context_.isa);
  const Tensor out = along(
      context_.threads, x, axis, [&](const float* v, float* to, std::int64_t rows, std::int64_t n) { loops.softmax(v, rows, n, to); },
      [&](const float* v, float* to, std::int64_t n, std::int64_t stride, std::int64_t wide) {
        float top[block];
        double sums[block];
        exp_columns(loops, v, to, n, stride, wide, top, sums);
        for (std::int64_t c = 0; c < wide; ++c) top[c] = sums[c] == 0 ? 0 : float(1 / sums[c]);
        for (std::int64_t r = 0; r < n; ++r) loops.mul(to + r * stride, 1, top, 1, wide, to + r * stride);
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
  const auto& loops = kernel::elements_of(context_.isa);
  const Tensor out = along(
      context_.threads, x, axis, [&](const float* v, float* to, std::int64_t rows, std::int64_t n) { loops.log_softmax(v, rows, n, to); },
      [&](const float* v, float* to, std::int64_t n, std::int64_t stride, std::int64_t wide) {
        float top[block];
        double sums[block];
        exp_columns(loops, v, to, n, stride, wide, top, sums);
        add_logs(loops, sums, wide, top);
        for (std::int64_t r = 0; r < n; ++r) loops.sub(v + r * stride, 1, top, 1, wide, to + r * stride);
      });
  return record(
      "log_softmax", out, {&x},
      [axis](const Pull& p) -> std::vector<Tensor> {
        return {p.ops.sub(p.gradient(), p.ops.mul(p.ops.exp(p.output()), p.ops.sum(p.gradient(), {axis}, true)))};
      },
      true);
}

Tensor Ops::logsumexp(const Tensor& x, int axis, bool keepdim) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const auto& loops = kernel::elements_of(context_.isa);
  auto extents = x.shape().vector();
  if (keepdim)
    extents[std::size_t(axis)] = 1;
  else
    extents.erase(extents.begin() + axis);
  const Tensor from = x.with_origin(nullptr).dense(context_.threads), out(DType::f32, Shape(extents));
  const Lanes cut = lanes(x.shape(), axis);
  if (cut.extent == 0) std::fill_n(out.raw<float>(), out.count(), -infinity);
  // A task has some rows, or some columns, whose exponentials nobody needs afterwards.
  const std::int64_t wide =
                         cut.inner == 1 ? 1 : std::clamp<std::int64_t>(16384 / std::max<std::int64_t>(1, cut.extent) / 64 * 64, 64, block),
                     blocks = (cut.inner + wide - 1) / wide;
  if (x.count() != 0)
    pieces(context_.threads, cut.outer * blocks, 16384 / (cut.extent * wide), [&](std::int64_t begin, std::int64_t end) {
      std::vector<float> room(std::size_t(cut.extent * wide));
      for (std::int64_t job = begin; job < end; ++job) {
        const std::int64_t o = job / blocks, c = job % blocks * wide, n = std::min(wide, cut.inner - c);
        const float* first = from.raw<float>() + o * cut.extent * cut.inner + c;
        float* to = out.raw<float>() + o * cut.inner + c;
        if (cut.inner == 1) {
          *to = log_sum(loops, first, cut.extent, room.data());
          continue;
        }
        float top[block];
        double sums[block];
        for (std::int64_t r = 0; r < cut.extent; ++r) std::copy_n(first + r * cut.inner, n, room.data() + r * n);
        exp_columns(loops, room.data(), room.data(), cut.extent, n, n, top, sums);
        add_logs(loops, sums, n, top);
        for (std::int64_t i = 0; i < n; ++i) to[i] = sums[i] == 0 ? -infinity : top[i];
      }
    });
  return record("logsumexp", out, {&x}, [x, axis](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.mul(spread(p.gradient(), x.shape(), {axis}), p.ops.softmax(x, axis))};
  });
}

Tensor Ops::cumsum(const Tensor& x, int axis) const {
  const Tensor out = along(
      context_.threads, x, axis,
      [](const float* v, float* to, std::int64_t rows, std::int64_t n) {
        std::int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {  // four chains side by side
          double total[4] = {};
          for (std::int64_t i = r * n; i < (r + 1) * n; ++i)
#pragma GCC unroll 4
            for (int j = 0; j < 4; ++j) to[i + j * n] = float(total[j] += v[i + j * n]);
        }
        for (; r < rows; ++r) {
          double total = 0;
          for (std::int64_t i = r * n; i < (r + 1) * n; ++i) to[i] = float(total += v[i]);
        }
      },
      [&loops = kernel::elements_of(context_.isa)](const float* v, float* to, std::int64_t n, std::int64_t stride, std::int64_t wide) {
        double sums[block] = {};
        loops.run_rows(v, n, stride, wide, sums, to);
      });
  return record("cumsum", out, {&x}, [axis](const Pull& p) -> std::vector<Tensor> {  // sums from the end
    const Tensor& g = p.gradient();
    return {p.ops.add(p.ops.sub(p.ops.sum(g, {axis}, true), p.ops.cumsum(g, axis)), g)};
  });
}

}  // namespace v0
}  // namespace heed
