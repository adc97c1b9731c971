// SPDX-License-Identifier: Apache-2.0
#include "ops/picked.h"

#include <array>
#include <utility>

#include "base/copy.h"
#include "kernel/maps.h"

namespace heed::ops {
namespace {

template <class T>
void copy_row(T* to, const T* from, std::int64_t count) {
  base::copy_bytes(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), std::size_t(count) * sizeof(T));
}
/// A list as runs; none where they are short.
std::vector<Run> runs_of(const std::int64_t* source, std::int64_t n) {
  std::vector<Run> runs;
  for (std::int64_t e = 0; e < n; ++e) {
    if (!runs.empty()) {
      Run& last = runs.back();
      const std::int64_t step = source[e] - source[e - 1];
      if (e == last.begin + 1 ? step >= -1 && step <= 1 : step == last.step) {
        last.step = step, ++last.end;
        continue;
      }
    }
    if (std::int64_t(runs.size()) * 4 > n + 8) return {};
    runs.push_back({e, e + 1, source[e], 1});
  }
  return runs;
}

/// The axes before the last one that is picked along.
struct Outer {
  std::int64_t extent, stride;  ///< the result's extent, the stride of x
  const std::int64_t* source;   ///< null: every element

  /// Where element i begins; null: a fill.
  template <class T>
  const T* of(const T* x, std::int64_t i) const {
    const std::int64_t at = source ? source[i] : i;
    return at < 0 ? nullptr : x + at * stride;
  }
};

/// out[lane, e, :] = x[place of the lane + source[e] * inner ...] for the last such axis.
template <class T>
struct Picking {
  static constexpr int most = 32;  ///< lanes whose runs are copied one after the other

  const kernel::MapTable& loops;
  const T* x;
  T* out;
  std::vector<Outer> outer;
  const std::int64_t* source;
  std::int64_t count, inner;
  std::vector<Run> runs;
  float fill;

  void blank(char* const* to, std::int64_t there, std::int64_t n, int lanes) const {
    const char* from[most];
    std::fill_n(from, lanes, reinterpret_cast<const char*>(&fill));
    loops.spread(from, 0, to, there, n, lanes);
  }
  /// Elements [first, last) by runs, for some lanes whose elements begin at `from`.
  void by_runs(const char* const* from, char* const* to, int lanes, std::int64_t first, std::int64_t last) const {
    const std::int64_t each = inner * std::int64_t(sizeof(T));
    for (const Run& run : runs) {
      const std::int64_t begin = std::max(first, run.begin), n = std::min(last, run.end) - begin, there = begin - first,
                         at = run.from + (begin - run.begin) * run.step;
      if (n <= 0) continue;
      if (run.from < 0)
        blank(to, there * inner, n * inner, lanes);
      else if (run.step == 1)
        loops.copy(from, at * each, to, there * each, n * each, lanes);
      else if (run.step == -1 && each == 4)
        loops.turn(from, at, to, there, n, lanes);
      else if (run.step == 0 && each == 4)
        loops.spread(from, at, to, there, n, lanes);
      else
        for (std::int64_t i = 0; i < n; ++i) loops.copy(from, (at + i * run.step) * each, to, (there + i) * each, each, lanes);
    }
  }
  /// Elements [first, last) one by one.
  void by_list(const T* from, std::int64_t first, std::int64_t last, T* to) const {
    std::int64_t e = first;
    if (inner == 1) {
      for (; e + 8 <= last; e += 8, to += 8)
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) to[i] = from[source[e + i]];
      for (; e < last; ++e) *to++ = from[source[e]];
      return;
    }
    for (; e < last; ++e, to += inner) copy_row(to, from + source[e] * inner, inner);
  }
  /// Elements [first, last) of a lane.
  void part(const T* lane, std::int64_t first, std::int64_t last, T* next) const {
    const char* from = reinterpret_cast<const char*>(lane);
    char* to = reinterpret_cast<char*>(next);
    if (!lane)
      blank(&to, 0, (last - first) * inner, 1);
    else if (!runs.empty())
      by_runs(&from, &to, 1, first, last);
    else
      by_list(lane, first, last, next);
  }
  /// Lanes [i, stop) of the last outer axis.
  void whole(const T* plane, std::int64_t i, std::int64_t stop, T* next) const {
    const Outer& axis = outer.back();
    const std::int64_t size = count * inner;
    const int together = int(std::min<std::int64_t>(most, 8192 / size + 1));
    const char* from[most];
    char* to[most];
    for (const T* before = nullptr; i < stop;) {
      int n = 0;
      for (; i < stop && n < together; ++i, next += size) {
        const T* lane = plane ? axis.of(plane, i) : nullptr;
        if (lane && !runs.empty())
          from[n] = reinterpret_cast<const char*>(lane), to[n++] = reinterpret_cast<char*>(next);
        else if (lane && lane == before)
          copy_row(next, next - size, size);
        else
          part(lane, 0, count, next);
        before = lane;
      }
      if (n > 0) by_runs(from, to, n, 0, count);
    }
  }
  void run(int threads) const {
    std::int64_t lanes = 1;
    for (const Outer& axis : outer) lanes *= axis.extent;
    // Tasks are lanes, or blocks of elements of one.
    const std::int64_t block = std::min(count, std::max<std::int64_t>(1, 32768 / inner)), blocks = (count + block - 1) / block;
    sweep(threads, lanes * blocks, 32768 / (block * inner), [&](std::int64_t begin, std::int64_t end) {
      std::array<std::int64_t, max_rank> index{};
      std::int64_t left = begin / blocks, first = begin % blocks * block;
      for (std::size_t a = outer.size(); a-- > 0; left /= outer[a].extent) index[a] = left % outer[a].extent;
      std::int64_t& i = index[outer.size() - 1];
      T* next = out + (begin / blocks * count + first) * inner;
      for (std::int64_t job = begin, some; job < end; job += some) {
        const T* plane = x;
        for (std::size_t a = 0; plane && a + 1 < outer.size(); ++a) plane = outer[a].of(plane, index[a]);
        if (blocks == 1) {
          some = std::min(outer.back().extent - i, end - job);
          whole(plane, i, i + some, next);
          next += some * count * inner, i += some;
        } else {
          const std::int64_t last = std::min(count, first + block);
          part(plane ? outer.back().of(plane, i) : nullptr, first, last, next);
          some = 1, next += (last - first) * inner;
          if (first = last; last == count) first = 0, ++i;
        }
        for (std::size_t a = outer.size(); --a > 0 && index[a] == outer[a].extent;) index[a] = 0, ++index[a - 1];
      }
    });
  }
};

}  // namespace

AxisSource axis_source(int axis, std::vector<Run> runs) {
  const std::int64_t count = runs.empty() ? 0 : runs.back().end;
  return {axis, count, std::move(runs)};
}
AxisSource axis_source(int axis, const std::int64_t* source, std::int64_t count) { return {axis, count, {}, source}; }

std::vector<std::int64_t> places_of(const std::vector<Run>& runs) {
  std::vector<std::int64_t> places;
  for (const Run& run : runs)
    for (std::int64_t e = run.begin; e < run.end; ++e) places.push_back(run.from < 0 ? -1 : run.from + (e - run.begin) * run.step);
  return places;
}

Tensor picked(const Context& context, const Tensor& x, std::vector<AxisSource> axes, float fill) {
  auto extents = x.shape().vector();
  for (const AxisSource& a : axes) extents[std::size_t(a.axis)] = a.count;
  const Tensor out(x.dtype(), Shape(extents));
  if (out.count() == 0) return out;
  Tensor from = x.with_origin(nullptr);
  AxisSource& last = axes.back();
  std::int64_t inner = 1;
  bool dense = true;
  for (int i = x.rank() - 1; i >= last.axis; --i) {
    dense = dense && (x.extent(i) == 1 || x.stride(i) == inner);
    if (i > last.axis) inner *= x.extent(i);
  }
  if (!dense) from = from.dense(context.threads);
  if (last.source && inner < 64) last.runs = runs_of(last.source, last.count);
  // Long runs first: they bring the lines that the short ones write to.
  std::stable_sort(last.runs.begin(), last.runs.end(), [](const Run& a, const Run& b) { return a.end - a.begin > b.end - b.begin; });
  std::vector<std::vector<std::int64_t>> lists(axes.size());
  std::vector<Outer> outer;
  std::size_t next = 0;
  if (last.axis == 0) outer.push_back({1, 0, nullptr});
  for (int i = 0; i < last.axis; ++i) {
    const std::int64_t extent = extents[std::size_t(i)], stride = from.stride(i);
    if (axes[next].axis == i) {
      if (!axes[next].source) lists[next] = places_of(axes[next].runs), axes[next].source = lists[next].data();
      outer.push_back({extent, stride, axes[next++].source});
    } else if (!outer.empty() && !outer.back().source && outer.back().stride == extent * stride) {
      outer.back() = {outer.back().extent * extent, stride, nullptr};
    } else if (extent > 1 || i + 1 == last.axis) {
      outer.push_back({extent, stride, nullptr});
    }
  }
  by_size(x.dtype(), [&](auto unit) {
    using T = decltype(unit);
    Picking<T>{kernel::maps_of(context.isa), from.raw<T>(), out.raw<T>(), outer, last.source, last.count, inner, last.runs, fill}.run(
        context.threads);
  });
  return out;
}

}  // namespace heed::ops
