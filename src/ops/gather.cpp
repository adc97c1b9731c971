// SPDX-License-Identifier: Apache-2.0
// Elements and rows by index: gather, and the sums that are its derivative.
#include <algorithm>

#include "heed/ops.h"
#include "ops/rows_at.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// body(a number of the dtype's size).
template <class F>
void by_size(DType dtype, F&& body) {
  switch (size_of(dtype)) {
    case 8:
      return body(std::uint64_t{});
    case 4:
      return body(std::uint32_t{});
    case 2:
      return body(std::uint16_t{});
    default:
      return body(std::uint8_t{});
  }
}
template <class T>
void copy_row(T* to, const T* from, std::int64_t count) {
  copy_bytes(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), std::size_t(count) * sizeof(T));
}
/// to[i] = from[-i].
template <class T>
void reversed(T* to, const T* from, std::int64_t n) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    Four x;
    std::memcpy(&x, from - i - 3, sizeof x);
    x = __builtin_shufflevector(x, x, 3, 2, 1, 0);
    std::memcpy(to + i, &x, sizeof x);
  }
  for (; i < n; ++i) to[i] = from[-i];
}

/// Sources that follow each other by `step`, 1, 0 or -1.
struct Run {
  std::int64_t from, count, step;
};
std::vector<Run> runs_of(const std::int64_t* source, std::int64_t n) {
  std::vector<Run> runs;
  for (std::int64_t e = 0; e < n; ++e) {
    if (!runs.empty()) {
      Run& last = runs.back();
      const std::int64_t step = source[e] - source[e - 1];
      if (last.count == 1 ? step >= -1 && step <= 1 : step == last.step) {
        last.step = step, ++last.count;
        continue;
      }
    }
    runs.push_back({source[e], 1, 1});
  }
  return runs;
}

/// out[o, e, :] = x[o, source[e], :] for `extent` e.
template <class T>
void pick(int threads, const T* x, const Lanes& cut, const std::int64_t* source, std::int64_t extent, T* out) {
  const std::int64_t inner = cut.inner, each = extent * inner;
  const auto runs = inner < 64 ? runs_of(source, extent) : std::vector<Run>();
  if (!runs.empty() && std::int64_t(runs.size()) * 4 <= extent) {
    pieces(threads, cut.outer, 32768 / std::max<std::int64_t>(each, 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const T* from = x + o * cut.extent * inner;
        T* to = out + o * each;
        for (const Run& run : runs) {
          if (run.step == 1)
            copy_row(to, from + run.from * inner, run.count * inner);
          else if (run.step == -1 && inner == 1)
            reversed(to, from + run.from, run.count);
          else
            for (std::int64_t e = 0; e < run.count; ++e) copy_row(to + e * inner, from + (run.from + e * run.step) * inner, inner);
          to += run.count * inner;
        }
      }
    });
    return;
  }
  // Tasks are lanes, or blocks of rows of one.
  const std::int64_t block = std::min(extent, std::max<std::int64_t>(1, 32768 / inner)), blocks = (extent + block - 1) / block;
  pieces(threads, cut.outer * blocks, 32768 / (block * inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t job = begin; job < end; ++job) {
      const T* from = x + job / blocks * cut.extent * inner;
      T* to = out + job / blocks * each;
      const std::int64_t first = job % blocks * block, last = std::min(extent, first + block);
      if (inner == 1)
        for (std::int64_t e = first; e < last; ++e) to[e] = from[source[e]];
      else
        for (std::int64_t e = first; e < last; ++e) copy_row(to + e * inner, from + source[e] * inner, inner);
    }
  });
}

/// The slices of an axis that `source` names, which are there.
Tensor picked(int threads, const Tensor& x, int axis, const std::int64_t* source, std::int64_t extent) {
  const Tensor from = x.dense();
  Tensor out(x.dtype(), with_axis(x.shape(), axis, extent));
  const Lanes cut = lanes(x.shape(), axis);
  if (out.count() != 0)
    by_size(x.dtype(), [&](auto unit) { pick(threads, from.raw<decltype(unit)>(), cut, source, extent, out.raw<decltype(unit)>()); });
  return out;
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
  return {at.broadcast(Shape(extents)).dense(), rows};
}

}  // namespace

Tensor Ops::repeat(const Tensor& x, int axis, std::int64_t times) const {
  if (!x.defined()) fail("x", "a tensor", "none");
  axis = axis_of(axis, x.rank());
  if (times < 0) fail("times", "0 or more", std::to_string(times));
  std::vector<std::int64_t> source(std::size_t(x.extent(axis) * times));
  for (std::size_t e = 0; e < source.size(); ++e) source[e] = std::int64_t(e) / times;
  const Tensor out = picked(context_.threads, x, axis, source.data(), std::int64_t(source.size()));
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
  const Tensor out = picked(context_.threads, x, axis, at.raw<std::int64_t>(), index.count());
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
  const auto [at, rows] = once ? Places{index.dense(), false} : places(context_, index, shape, axis, x.extent(axis));
  const auto& loops = kernel::elements_of(context_.isa);
  std::atomic<bool> wrong{false};
  const Tensor from = x.dense();
  Tensor out(x.dtype(), shape);
  const Lanes cut = lanes(shape, axis);
  const std::int64_t extent = x.extent(axis), *first = at.raw<std::int64_t>();
  const auto copy = [&, by_rows = rows](auto unit) {
    const auto* source = from.raw<decltype(unit)>();
    auto* to = out.raw<decltype(unit)>();
    // Tasks are blocks of rows of one lane.
    const std::int64_t block = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, cut.inner)),
                       blocks = (cut.extent + block - 1) / block;
    pieces(context_.threads, cut.outer * blocks, 16384 / std::max<std::int64_t>(1, std::min(block, cut.extent) * cut.inner),
           [&](std::int64_t begin, std::int64_t end) {
             for (std::int64_t job = begin; job < end; ++job) {
               const std::int64_t o = job / blocks, row = o * cut.extent + job % blocks * block,
                                  rest = std::min(block, (o + 1) * cut.extent - row);
               const auto* lane = source + o * extent * cut.inner;
               auto* at_row = to + row * cut.inner;
               const std::int64_t* place = first + (by_rows ? row : row * cut.inner);
               if (once && !loops.below(place, rest * cut.inner, extent)) {
                 wrong = true;
                 continue;
               }
               if (by_rows)
                 for (std::int64_t e = 0; e < rest; ++e, at_row += cut.inner) copy_row(at_row, lane + place[e] * cut.inner, cut.inner);
               else if (cut.inner == 1)
                 for (std::int64_t e = 0; e < rest; ++e) at_row[e] = lane[place[e]];
               else
                 for (std::int64_t e = 0; e < rest; ++e, at_row += cut.inner, place += cut.inner)
                   for (std::int64_t i = 0; i < cut.inner; ++i) at_row[i] = lane[place[i] * cut.inner + i];
             }
           });
  };
  by_size(x.dtype(), copy);
  if (wrong) indices(context_, index, extent);  // says which
  return record("gather", out, {&x}, [at = at, axis, extent](const Pull& p) -> std::vector<Tensor> {
    return {p.ops.scatter_add(p.gradient(), axis, at, extent)};
  });
}

Tensor Ops::scatter_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const auto [at, rows] = places(context_, index, x.shape(), axis, extent);
  const std::int64_t* first = at.raw<std::int64_t>();
  const Tensor from = x.with_origin(nullptr).dense();
  Tensor out(DType::f32, with_axis(x.shape(), axis, extent));
  const Lanes cut = lanes(x.shape(), axis);
  if (rows || cut.inner == 1) {
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
  const Tensor at = indices(context_, index, extent), from = x.with_origin(nullptr).dense();
  Tensor out(DType::f32, with_axis(x.shape(), axis, extent));
  reduce_rows(
      context_, kernel::elements_of(context_.isa).add_at, from.raw<float>(), lanes(x.shape(), axis), extent, 0,
      [&](std::int64_t) { return at.raw<std::int64_t>(); }, out.raw<float>());
  return record("index_add", out, {&x},
                [at, axis](const Pull& p) -> std::vector<Tensor> { return {p.ops.index_select(p.gradient(), axis, at)}; });
}

}  // namespace v0
}  // namespace heed
