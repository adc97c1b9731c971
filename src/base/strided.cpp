// SPDX-License-Identifier: Apache-2.0
#include "base/strided.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/copy.h"
#include "base/parallel.h"

namespace heed::base {
namespace {

/// Sixteen bytes of T.
template <class T>
struct Few {
  static constexpr int count = 16 / int(sizeof(T));
  typedef T V __attribute__((vector_size(16)));
  using Index = std::make_integer_sequence<int, count>;

  static V load(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
  /// The elements of the first halves, or of the second ones, by turns.
  template <int... I>
  static V low(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I / 2 + I % 2 * count)...);
  }
  template <int... I>
  static V high(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (count / 2 + I / 2 + I % 2 * count)...);
  }
  template <int first, int... I>
  static V every_second(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (first + 2 * I)...);
  }
  template <int... I>
  static V reversed(V a, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, a, (count - 1 - I)...);
  }
};

/// m rows of n elements: element (r, i) stands at r * row + i * step in the source and at r * to_row + i in the copy.
struct Plane {
  std::int64_t m, n, row, step, to_row;
};

template <class T>
void copy_rows(const T* in, const Plane& p, T* out) {
  const auto size = std::size_t(p.n) * sizeof(T);
  for (std::int64_t r = 0; r < p.m; ++r)
    copy_bytes(reinterpret_cast<char*>(out + r * p.to_row), reinterpret_cast<const char*>(in + r * p.row), size);
}

/// Rows whose elements lie apart, one thing throughout, or backwards.
template <class T>
void copy_spread(const T* in, const Plane& p, T* out) {
  using F = Few<T>;
  for (std::int64_t r = 0; r < p.m; ++r, in += p.row, out += p.to_row) {
    std::int64_t i = 0;
    if (p.step == 0)
      std::fill_n(out, p.n, *in), i = p.n;
    else if (p.step == -1)
      for (; i + F::count <= p.n; i += F::count) F::store(out + i, F::reversed(F::load(in - i - F::count + 1), typename F::Index()));
    else if (p.step == 2)
      for (; i + F::count < p.n; i += F::count)
        F::store(out + i, F::template every_second<0>(F::load(in + 2 * i), F::load(in + 2 * i + F::count), typename F::Index()));
    for (; i < p.n; ++i) out[i] = in[i * p.step];
  }
}

/// Square blocks turned in registers; source elements of a column (r) are neighbours.
template <class T>
void turn(const T* in, const Plane& p, T* out) {
  using F = Few<T>;
  using Index = typename F::Index;
  constexpr int k = F::count;
  const std::int64_t m = p.m / k * k, n = p.n / k * k;
  const auto block = [&](std::int64_t r, std::int64_t i) {
    typename F::V a[k], b[k];
#pragma GCC unroll 16
    for (int j = 0; j < k; ++j) a[j] = F::load(in + r + (i + j) * p.step);
#pragma GCC unroll 4
    for (int stage = 1; stage < k; stage *= 2) {  // the elements of rows j and j + k / 2 by turns
#pragma GCC unroll 8
      for (int j = 0; j < k / 2; ++j) b[2 * j] = F::low(a[j], a[j + k / 2], Index()), b[2 * j + 1] = F::high(a[j], a[j + k / 2], Index());
#pragma GCC unroll 16
      for (int j = 0; j < k; ++j) a[j] = b[j];
    }
#pragma GCC unroll 16
    for (int j = 0; j < k; ++j) F::store(out + (r + j) * p.to_row + i, a[j]);
  };
  const auto rest = [&](std::int64_t r, std::int64_t end, std::int64_t i, std::int64_t last) {
    for (; r < end; ++r)
      for (std::int64_t c = i; c < last; ++c) out[r * p.to_row + c] = in[r + c * p.step];
  };
  if (p.n == 2 && p.to_row == 2) {  // two rows by turns
    for (std::int64_t r = 0; r < m; r += k) {
      const auto a = F::load(in + r), b = F::load(in + r + p.step);
      F::store(out + 2 * r, F::low(a, b, Index())), F::store(out + 2 * r + k, F::high(a, b, Index()));
    }
    return rest(m, p.m, 0, 2);
  }
  constexpr std::int64_t line = 64 / sizeof(T);  // of what is read a line is read whole while it is near
  for (std::int64_t first = 0; first < m; first += line)
    for (std::int64_t i = 0; i < n; i += k)
      for (std::int64_t r = first; r < std::min(m, first + line); r += k) block(r, i);
  rest(0, m, n, p.n), rest(m, p.m, 0, p.n);
}

struct Axis {
  std::int64_t extent, in, out;  ///< strides of the source and of the copy
};

/// Axes of more than one element, those that follow each other in memory as one.
struct Axes {
  std::array<Axis, max_rank + 2> axis{};
  int count = 0;

  explicit Axes(const View& from) {
    std::int64_t step = from.count();
    for (int i = 0; i < from.rank(); ++i) {
      const std::int64_t extent = from.extent(i), stride = from.stride(i);
      if (extent == 1) continue;
      step /= extent;
      if (count > 0 && at(count - 1).in == extent * stride)
        at(count - 1) = {at(count - 1).extent * extent, stride, step};
      else
        at(count++) = {extent, stride, step};
    }
  }
  Axis& at(int i) { return axis[std::size_t(i)]; }
  /// Takes an axis out; of extent 1 where there is none.
  Axis take(int i) {
    if (i < 0) return {1, 0, 0};
    const Axis taken = at(i);
    for (; i + 1 < count; ++i) at(i) = at(i + 1);
    --count;
    return taken;
  }
};

template <class T>
void copy_elements(const View& from, T* out, int threads) {
  Axes axes(from);
  const Axis last = axes.count == 0 ? Axis{1, 1, 1} : axes.take(axes.count - 1);
  int neighbours = -1;  // the axis whose elements lie side by side
  for (int i = 0; i < axes.count && last.in != 1 && last.in != 0; ++i)
    if (axes.at(i).in == 1) neighbours = i;
  const bool turned = neighbours >= 0;
  const Axis rows = axes.take(turned ? neighbours : axes.count - 1);
  // Blocks of a plane, as two axes more.
  constexpr std::int64_t most = 16384 / sizeof(T), side = 256 / sizeof(T);
  const std::int64_t columns = turned ? std::min(last.extent, side) : std::min(last.extent, most),
                     high = std::min(rows.extent, std::max<std::int64_t>(turned ? side : 1, most / columns));
  const int down = axes.count, across = axes.count + 1;
  axes.at(down) = {(rows.extent + high - 1) / high, high * rows.in, high * rows.out};
  axes.at(across) = {(last.extent + columns - 1) / columns, columns * last.in, columns};
  std::int64_t blocks = 1;
  for (int i = 0; i <= across; ++i) blocks *= axes.at(i).extent;
  const std::int64_t workers = thread_count(threads), fewest = 131072 / std::int64_t(sizeof(T)) * blocks / from.count() + 1,
                     share = std::max(fewest, (blocks + workers - 1) / workers);
  const auto* in = static_cast<const T*>(from.data);
  const auto run = [&](std::int64_t block, std::int64_t end) {
    std::array<std::int64_t, max_rank + 2> index{};
    std::int64_t here = 0, there = 0;
    for (std::int64_t i = across, left = block; i >= 0; --i) {
      const Axis& a = axes.at(int(i));
      index[std::size_t(i)] = left % a.extent, left /= a.extent;
      here += index[std::size_t(i)] * a.in, there += index[std::size_t(i)] * a.out;
    }
    for (; block < end; ++block) {
      const Plane plane{std::min(high, rows.extent - index[std::size_t(down)] * high),
                        std::min(columns, last.extent - index[std::size_t(across)] * columns), rows.in, last.in, rows.out};
      if (turned)
        turn(in + here, plane, out + there);
      else if (last.in == 1)
        copy_rows(in + here, plane, out + there);
      else
        copy_spread(in + here, plane, out + there);
      for (int i = across; i >= 0; --i) {
        const Axis& a = axes.at(i);
        here += a.in, there += a.out;
        if (++index[std::size_t(i)] < a.extent) break;
        here -= a.in * a.extent, there -= a.out * a.extent;
        index[std::size_t(i)] = 0;
      }
    }
  };
  // Every other copy goes back, and begins with what the one before left in the cache.
  static thread_local bool back = false;
  back = !back;
  parallel(threads, (blocks + share - 1) / share, [&, down = back](std::int64_t piece, int) {
    const std::int64_t begin = piece * share, end = std::min(blocks, begin + share), parts = (end - begin + fewest - 1) / fewest;
    for (std::int64_t i = 0; i < parts; ++i) {
      const std::int64_t first = begin + (down ? parts - 1 - i : i) * fewest;
      run(first, std::min(end, first + fewest));
    }
  });
}

}  // namespace

void copy_dense(const View& from, void* to, int threads) {
  if (from.count() == 0) return;
  switch (size_of(from.dtype)) {
    case 1:
      return copy_elements(from, static_cast<std::uint8_t*>(to), threads);
    case 2:
      return copy_elements(from, static_cast<std::uint16_t*>(to), threads);
    case 4:
      return copy_elements(from, static_cast<std::uint32_t*>(to), threads);
    default:
      return copy_elements(from, static_cast<std::uint64_t*>(to), threads);
  }
}

}  // namespace heed::base
