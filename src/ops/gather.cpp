// SPDX-License-Identifier: Apache-2.0
// Elements and rows by index: gather, and the sums that are its derivative.
#include <algorithm>
#include <limits>

#include "heed/ops.h"
#include "ops/picked.h"
#include "ops/rows_at.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

template <class T>
void gather_rows(const T* lane, const std::int64_t* place, std::int64_t n, std::int64_t inner, T* to) {
  for (std::int64_t e = 0; e < n; ++e)
    copy_bytes(reinterpret_cast<char*>(to + e * inner), reinterpret_cast<const char*>(lane + place[e] * inner),
               std::size_t(inner) * sizeof(T));
}
template <class T>
void gather_elements(const T* lane, const std::int64_t* place, std::int64_t n, std::int64_t inner, T* to) {
  if (inner > 1) {
    for (std::int64_t e = 0; e < n; ++e, to += inner, place += inner)
      for (std::int64_t i = 0; i < inner; ++i) to[i] = lane[place[i] * inner + i];
    return;
  }
  for (std::int64_t e = 0; e < n; ++e) to[e] = lane[place[e]];
}

/// One index a row of `inner` elements, or (not rows) one an element; both dense.
struct Places {
  Tensor at;
  bool rows;
};

/// The indices of gather and scatter_add over `shape`: those that do not depend on the axes behind `axis` stay one a row.
Places places(const Context& context, const Tensor& index, const Shape& shape, int axis, std::int64_t limit) {
  const Tensor at = indices(context, index, limit);
  auto extents = shape.vector();
  bool rows = index.rank() == shape.rank() && axis + 1 < shape.rank();
  for (int i = axis + 1; rows && i < shape.rank(); ++i) rows = index.extent(i) == 1;
  for (int i = axis + 1; rows && i < shape.rank(); ++i) extents[std::size_t(i)] = 1;
  return {at.broadcast(Shape(extents)).dense(context.threads), rows};
}

/// out[o, place[o, e]] += x[o, e] for R lanes o, e in order; out begins with 0. Lanes side by side keep a sum that is written apart from
/// its next reading.
template <int R>
void scatter_lanes(const float* x, const std::int64_t* place, std::int64_t n, std::int64_t extent, float* out) {
  fill(out, R * extent, 0);
  for (std::int64_t e = 0; e < n; ++e)
#pragma GCC unroll 4
    for (int o = 0; o < R; ++o) out[o * extent + place[o * n + e]] += x[o * n + e];
}

/// The same for all lanes of a last axis of `extent`; false where an index is not in it.
bool scatter_last(const Context& context, const float* x, const std::int64_t* place, const Lanes& cut, std::int64_t extent, float* out) {
  const auto& loops = kernel::elements_of(context.isa);
  std::atomic<bool> wrong{false};
  sweep(context.threads, cut.outer, 16384 / std::max<std::int64_t>(1, cut.extent + extent), [&](std::int64_t o, std::int64_t end) {
    const std::int64_t n = cut.extent;
    for (std::int64_t lanes = extent <= 2048 ? 4 : 1; o < end; o += lanes) {
      if (lanes > end - o) lanes = 1;
      if (!loops.below(place + o * n, lanes * n, extent)) return void(wrong = true);
      (lanes == 4 ? scatter_lanes<4> : scatter_lanes<1>)(x + o * n, place + o * n, n, extent, out + o * extent);
    }
  });
  return !wrong;
}

}  // namespace

Tensor Ops::repeat(const Tensor& x, int axis, std::int64_t times) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  const std::int64_t most = std::numeric_limits<std::int64_t>::max() / std::max<std::int64_t>(1, x.extent(axis));
  if (times < 0 || times > most) fail("times", "0 to " + std::to_string(most), std::to_string(times));
  const Tensor source(DType::i64, {x.extent(axis) * times});
  for (std::int64_t e = 0; e < x.extent(axis); ++e) std::fill_n(source.raw<std::int64_t>() + e * times, times, e);
  const Tensor out = picked(context_, x, {axis_source(axis, source.raw<std::int64_t>(), source.count())});
  return record("repeat", out, {&x}, [s = x.shape(), axis, times](const Pull& p) -> std::vector<Tensor> {
    auto extents = s.vector();
    extents.insert(extents.begin() + axis + 1, times);
    return {p.ops.sum(p.gradient().reshape(Shape(extents)), {axis + 1})};
  });
}

Tensor Ops::index_select(const Tensor& x, int axis, const Tensor& index) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  const Tensor at = indices(context_, index, x.extent(axis));
  if (index.rank() != 1) fail("index", "rank 1", index.shape().text());
  const Tensor out = picked(context_, x, {axis_source(axis, at.raw<std::int64_t>(), index.count())});
  return record("index_select", out, {&x}, [at, axis, extent = x.extent(axis)](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.index_add(p.gradient(), axis, at, extent)};
  });
}

Tensor Ops::embedding(const Tensor& table, const Tensor& index) const {
  need(table, DType::f32, "table");
  if (table.rank() != 2) fail("table", "[rows, d]", table.shape().text());
  need(index, DType::i64, "index");
  auto extents = index.shape().vector();
  extents.push_back(table.extent(1));
  return index_select(table, 0, index.reshape(Shape{index.count()})).reshape(Shape(extents));
}

Tensor Ops::gather(const Tensor& x, int axis, const Tensor& index) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  need(index, DType::i64, "index");
  if (index.rank() != x.rank()) fail("index", "rank " + std::to_string(x.rank()), index.shape().text());
  const Shape shape = with_axis(x.shape(), axis, index.extent(axis));
  // Indices that are read once are checked where they are read.
  const bool once = index.shape() == shape;
  const auto [at, rows] = once ? Places{index.dense(context_.threads), false} : places(context_, index, shape, axis, x.extent(axis));
  const auto& loops = kernel::elements_of(context_.isa);
  std::atomic<bool> wrong{false};
  const Tensor from = x.dense(context_.threads);
  Tensor out(x.dtype(), shape);
  const Lanes cut = lanes(shape, axis);
  const std::int64_t extent = x.extent(axis), *first = at.raw<std::int64_t>();
  by_size(x.dtype(), [&, by_rows = rows](auto unit) {
    using T = decltype(unit);
    if (out.count() == 0) return;
    // Places are checked some thousands at a time, where they are read.
    const std::int64_t each = by_rows ? 1 : cut.inner, some = std::max<std::int64_t>(1, 512 / each);
    sweep(context_.threads, cut.outer * cut.extent, 16384 / std::max<std::int64_t>(1, cut.inner),
          [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; row += some) {
              const std::int64_t stop = std::min(end, row + some);
              if (once && !loops.below(first + row * each, (stop - row) * each, extent)) {
                wrong = true;
                continue;
              }
              std::int64_t o = row / cut.extent;
              for (std::int64_t r = row, n; r < stop; r += n) {
                // Whole lanes together, or what this piece has of one.
                const std::int64_t whole = sizeof(T) == sizeof(float) && cut.inner == 1 ? (stop - r) / cut.extent : 1,
                                   many = r == o * cut.extent && whole > 1 ? whole : 1;
                n = many > 1 ? many * cut.extent : std::min(stop, (o + 1) * cut.extent) - r;
                const T* lane = from.raw<T>() + o * extent * cut.inner;
                T* to = out.raw<T>() + r * cut.inner;
                o += many;
                if (sizeof(T) == sizeof(float) && cut.inner == 1)  // moved, never computed with
                  loops.take(reinterpret_cast<const float*>(lane), extent, first + r, n / many, many, o < cut.outer,
                             reinterpret_cast<float*>(to));
                else if (by_rows)
                  gather_rows(lane, first + r, n, cut.inner, to);
                else
                  gather_elements(lane, first + r * cut.inner, n, cut.inner, to);
              }
            }
          });
  });
  if (wrong) indices(context_, index, extent);  // says which
  return record("gather", out, {&x}, [at = at, axis, extent](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.scatter_add(p.gradient(), axis, at, extent)};
  });
}

Tensor Ops::scatter_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  need(index, DType::i64, "index");
  // Along the last axis, indices are checked where they are read.
  const bool once = axis == x.rank() - 1 && index.shape() == x.shape();
  const auto [at, rows] = once ? Places{index.dense(context_.threads), false} : places(context_, index, x.shape(), axis, extent);
  const std::int64_t* first = at.raw<std::int64_t>();
  const Tensor from = x.with_origin(nullptr).dense(context_.threads);
  Tensor out(DType::f32, with_axis(x.shape(), axis, extent));
  const Lanes cut = lanes(x.shape(), axis);
  if (once) {
    if (!scatter_last(context_, from.raw<float>(), first, cut, extent, out.raw<float>())) indices(context_, index, extent);  // says which
  } else if (rows || cut.inner == 1) {
    reduce_rows(
        context_, kernel::elements_of(context_.isa).add_at, from.raw<float>(), cut, extent, 0,
        [&](std::int64_t o) { return first + o * cut.extent; }, out.raw<float>());
  } else {
    // A task has some columns of a lane.
    const std::int64_t block = std::min<std::int64_t>(cut.inner, 128), blocks = block == 0 ? 0 : (cut.inner + block - 1) / block;
    pieces(context_.threads, cut.outer * blocks, 16384 / std::max<std::int64_t>(1, (cut.extent + extent) * block),
           [&](std::int64_t begin, std::int64_t end) {
             for (std::int64_t job = begin; job < end; ++job) {
               const std::int64_t o = job / blocks, c = job % blocks * block, wide = std::min(block, cut.inner - c);
               float* to = out.raw<float>() + o * extent * cut.inner + c;
               for (std::int64_t e = 0; e < extent; ++e) fill(to + e * cut.inner, wide, 0);
               for (std::int64_t e = 0; e < cut.extent; ++e) {
                 const float* row = from.raw<float>() + (o * cut.extent + e) * cut.inner + c;
                 const std::int64_t* place = first + (o * cut.extent + e) * cut.inner + c;
                 for (std::int64_t i = 0; i < wide; ++i) to[place[i] * cut.inner + i] += row[i];
               }
             }
           });
  }
  return record("scatter_add", out, {&x},
                [at = at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.gather(p.gradient(), axis, at)}; });
}

Tensor Ops::index_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  if (index.shape() != Shape{x.extent(axis)}) fail("index", Shape{x.extent(axis)}.text(), index.shape().text());
  const Tensor at = indices(context_, index, extent), from = x.with_origin(nullptr).dense(context_.threads);
  Tensor out(DType::f32, with_axis(x.shape(), axis, extent));
  reduce_rows(
      context_, kernel::elements_of(context_.isa).add_at, from.raw<float>(), lanes(x.shape(), axis), extent, 0,
      [&](std::int64_t) { return at.raw<std::int64_t>(); }, out.raw<float>());
  return record("index_add", out, {&x},
                [at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.index_select(p.gradient(), axis, at)}; });
}

}  // namespace v0
}  // namespace heed
