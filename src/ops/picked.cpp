// SPDX-License-Identifier: Apache-2.0
#include "ops/picked.h"

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "base/copy.h"

namespace heed::ops {
namespace {

template <class T>
void copy_row(T* to, const T* from, std::int64_t count) {
  base::copy_bytes(reinterpret_cast<char*>(to), reinterpret_cast<const char*>(from), std::size_t(count) * sizeof(T));
}
template <class T>
void fill_row(T* to, std::int64_t count, T value) {
  if constexpr (sizeof(T) == sizeof(float))
    base::fill(reinterpret_cast<float*>(to), count, std::bit_cast<float>(value));
  else
    std::fill_n(to, count, value);
}
/// to[i] = from[-i].
template <class T>
void reversed(T* to, const T* from, std::int64_t n) {
  constexpr int k = sizeof(T) == 4 ? 4 : 1;
  std::int64_t i = 0;
  if constexpr (k == 4) {
    typedef T Four __attribute__((vector_size(16)));
    for (; i + 4 <= n; i += 4) {
      Four x;
      std::memcpy(&x, from - i - 3, sizeof x);
      x = __builtin_shufflevector(x, x, 3, 2, 1, 0);
      std::memcpy(to + i, &x, sizeof x);
    }
  }
  for (; i < n; ++i) to[i] = from[-i];
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
};

/// out[lane, e, :] = x[place of the lane + source[e] * inner ...] for the last such axis.
template <class T>
struct Picking {
  const T* x;
  T* out;
  std::vector<Outer> outer;
  const std::int64_t* source;
  std::int64_t count, inner;
  std::vector<Run> runs;
  T fill;

  /// Elements [first, last) of the lane whose elements begin at `from`; null: fills.
  void lane(const T* from, std::int64_t first, std::int64_t last, T* to) const {
    if (!from) return fill_row(to, (last - first) * inner, fill);
    if (!runs.empty()) return by_runs(from, first, last, to);
    if (inner == 1) {
      std::int64_t e = first;
      for (; e + 8 <= last; e += 8, to += 8)
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) to[i] = from[source[e + i]];
      for (; e < last; ++e) *to++ = from[source[e]];
      return;
    }
    for (std::int64_t e = first; e < last; ++e, to += inner) copy_row(to, from + source[e] * inner, inner);
  }
  void by_runs(const T* from, std::int64_t first, std::int64_t last, T* to) const {
    auto run = runs.begin();
    while (run->end <= first) ++run;
    for (std::int64_t e = first; e < last; ++run) {
      const std::int64_t n = std::min(last, run->end) - e;
      const T* at = from + (run->from + (e - run->begin) * run->step) * inner;
      if (run->from < 0)
        fill_row(to, n * inner, fill);
      else if (run->step == 1)
        copy_row(to, at, n * inner);
      else if (run->step == -1 && inner == 1)
        reversed(to, at, n);
      else
        for (std::int64_t i = 0; i < n; ++i) copy_row(to + i * inner, at + i * run->step * inner, inner);
      to += n * inner, e += n;
    }
  }
  void run(int threads) {
    std::int64_t lanes = 1;
    for (const Outer& axis : outer) lanes *= axis.extent;
    // Tasks are lanes, or blocks of elements of one.
    const std::int64_t block = std::min(count, std::max<std::int64_t>(1, 32768 / inner)), blocks = (count + block - 1) / block;
    pieces(threads, lanes * blocks, 32768 / (block * inner), [&](std::int64_t begin, std::int64_t end) {
      std::array<std::int64_t, max_rank> index{};
      std::int64_t left = begin / blocks;
      for (std::size_t a = outer.size(); a-- > 0; left /= outer[a].extent) index[a] = left % outer[a].extent;
      std::int64_t part = begin % blocks;
      const T* before = nullptr;
      T* to = out + (begin / blocks * count + part * block) * inner;
      for (std::int64_t job = begin; job < end; ++job) {
        const T* from = x;
        for (std::size_t a = 0; from && a < outer.size(); ++a) {
          const std::int64_t at = outer[a].source ? outer[a].source[index[a]] : index[a];
          from = at < 0 ? nullptr : from + at * outer[a].stride;
        }
        const std::int64_t first = part * block, last = std::min(count, first + block), size = (last - first) * inner;
        if (from && from == before && runs.empty())
          copy_row(to, to - size, size);
        else
          lane(from, first, last, to);
        before = blocks == 1 ? from : nullptr, to += size;
        if (++part < blocks) continue;
        part = 0;
        for (std::size_t a = outer.size(); a-- > 0 && ++index[a] == outer[a].extent;) index[a] = 0;
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

Tensor picked(int threads, const Tensor& x, std::vector<AxisSource> axes, float fill) {
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
  if (!dense) from = from.dense(threads);
  if (last.source && inner < 64) last.runs = runs_of(last.source, last.count);
  std::vector<std::vector<std::int64_t>> lists(axes.size());
  std::vector<Outer> outer;
  std::size_t next = 0;
  for (int i = 0; i < last.axis; ++i) {
    const std::int64_t extent = extents[std::size_t(i)], stride = from.stride(i);
    if (axes[next].axis == i) {
      if (!axes[next].source) lists[next] = places_of(axes[next].runs), axes[next].source = lists[next].data();
      outer.push_back({extent, stride, axes[next++].source});
    } else if (!outer.empty() && !outer.back().source && outer.back().stride == extent * stride) {
      outer.back() = {outer.back().extent * extent, stride, nullptr};
    } else if (extent > 1) {
      outer.push_back({extent, stride, nullptr});
    }
  }
  by_size(x.dtype(), [&](auto unit) {
    using T = decltype(unit);
    T value{};
    if constexpr (sizeof value == sizeof fill) value = std::bit_cast<T>(fill);
    Picking<T>{from.raw<T>(), out.raw<T>(), outer, last.source, last.count, inner, last.runs, value}.run(threads);
  });
  return out;
}

}  // namespace heed::ops
