// SPDX-License-Identifier: Apache-2.0
#include "ops/separable.h"

#include <algorithm>
#include <memory>

#include "kernel/maps.h"
#include "ops/lanes.h"

namespace heed::ops {
namespace {

/// One axis of a map [outer, in, inner], ready for the loops.
struct Pass {
  const AxisMap& map;
  std::int64_t outer, inner;
  std::vector<std::int64_t> offset{};  ///< index * inner
  std::vector<std::int32_t> index{};   ///< of a last axis whose outputs have as many entries each: [entries][out]
  std::vector<float> weight{};
  std::int64_t entries = 0;
  bool single = true, runs = true;  ///< every output is one entry of weight 1; entries of an output are neighbours of one weight

  Pass(const AxisMap& m, std::int64_t before, std::int64_t after) : map(m), outer(before), inner(after) {
    for (const auto i : map.index) offset.push_back(i * inner);
    for (std::size_t o = 0; o + 1 < map.begin.size(); ++o) {
      const auto first = std::size_t(map.begin[o]), last = std::size_t(map.begin[o + 1]);
      single = single && last == first + 1 && map.weight[first] == 1;
      for (std::size_t e = first + 1; e < last; ++e)
        runs = runs && map.index[e] == map.index[e - 1] + 1 && map.weight[e] == map.weight[first];
    }
    if (inner != 1 || map.out() == 0) return;
    entries = map.begin[1];
    for (std::int64_t o = 0; o < map.out(); ++o)
      if (map.begin[std::size_t(o) + 1] - map.begin[std::size_t(o)] != entries) entries = 0;
    for (std::int64_t e = 0; e < entries; ++e)
      for (std::int64_t o = 0; o < map.out(); ++o) {
        index.push_back(map.index[std::size_t(o * entries + e)]);
        weight.push_back(map.weight[std::size_t(o * entries + e)]);
      }
  }

  void sum(const kernel::MapTable& loops, const float* from, float* to) const {
    const std::int64_t n = map.out();
    for (std::int64_t i = 0; i < outer; ++i, from += map.in * inner) {
      if (single && inner == 1) {
        for (std::int64_t o = 0; o < n; ++o) to[o] = from[index[std::size_t(o)]];
        to += n;
        continue;
      }
      if (entries > 0 && entries <= 8) {
        loops.pick(from, index.data(), weight.data(), entries, to, n);
        to += n;
        continue;
      }
      for (std::int64_t o = 0; o < n; ++o, to += inner) {
        const std::int64_t begin = map.begin[std::size_t(o)], count = map.begin[std::size_t(o) + 1] - begin;
        if (single) {
          std::copy(from + offset[std::size_t(begin)], from + offset[std::size_t(begin)] + inner, to);
        } else if (inner > 1) {
          loops.taps(from, 0, 1, offset.data() + begin, map.weight.data() + begin, count, 0, to, inner, inner);
        } else if (runs) {
          *to = count == 0 ? 0 : float(loops.sum(from + map.index[std::size_t(begin)], count) * double(map.weight[std::size_t(begin)]));
        } else {
          float sum = 0;
          for (std::int64_t e = begin; e < begin + count; ++e) sum += map.weight[std::size_t(e)] * from[map.index[std::size_t(e)]];
          *to = sum;
        }
      }
    }
  }
  void largest(const kernel::MapTable& loops, const float* from, float* to) const {
    for (std::int64_t i = 0; i < outer; ++i, from += map.in * inner)
      for (std::int64_t o = 0; o < map.out(); ++o, to += inner) {
        const std::int64_t begin = map.begin[std::size_t(o)], end = map.begin[std::size_t(o) + 1];
        if (inner > 1) {
          loops.largest(from, offset.data() + begin, end - begin, to, inner);
        } else {
          float best = from[map.index[std::size_t(begin)]];
          for (std::int64_t e = begin + 1; e < end; ++e) {
            const float x = from[map.index[std::size_t(e)]];
            best = x > best || x != x ? x : best;
          }
          *to = best;
        }
      }
  }
};

Tensor run(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps, bool largest) {
  const int axes = int(maps.size()), lead = x.rank() - axes;
  auto extents = x.shape().vector();
  std::int64_t planes = 1, size = 1;
  for (int i = 0; i < x.rank(); ++i) (i < lead ? planes : size) *= extents[std::size_t(i)];
  // Axes that shrink go first, the last axis, which alone is not read in whole rows, where its rows are fewest.
  std::vector<int> order;
  for (int i = 0; i < axes; ++i)
    if (!maps[std::size_t(i)].same()) order.push_back(i);
  const auto growth = [&](int i) {
    return double(maps[std::size_t(i)].out()) / double(std::max<std::int64_t>(1, maps[std::size_t(i)].in));
  };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    if (growth(a) != growth(b)) return growth(a) < growth(b);
    return growth(a) > 1 ? a > b : a < b;
  });
  std::vector<Pass> passes;
  std::int64_t most = 0;
  for (const int i : order) {
    std::int64_t outer = 1, inner = 1;
    for (int j = lead; j < lead + i; ++j) outer *= extents[std::size_t(j)];
    for (int j = lead + i + 1; j < x.rank(); ++j) inner *= extents[std::size_t(j)];
    passes.emplace_back(maps[std::size_t(i)], outer, inner);
    extents[std::size_t(lead + i)] = maps[std::size_t(i)].out();
    most = std::max(most, outer * maps[std::size_t(i)].out() * inner);
  }
  const Tensor from = x.with_origin(nullptr).dense();
  if (passes.empty()) return from;
  Tensor out(DType::f32, Shape(extents));
  if (out.count() == 0) return out;
  const auto& loops = kernel::maps_of(ops.context().isa);
  const std::int64_t made = out.count() / planes;
  pieces(ops.context().threads, planes, 16384 / std::max(most, size), [&](std::int64_t begin, std::int64_t end) {
    const std::unique_ptr<float[]> a(new float[std::size_t(passes.size() > 1 ? most : 0)]),
        b(new float[std::size_t(passes.size() > 2 ? most : 0)]);
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const float* source = from.raw<float>() + plane * size;
      for (std::size_t i = 0; i < passes.size(); ++i) {
        float* to = i + 1 == passes.size() ? out.raw<float>() + plane * made : i % 2 ? b.get() : a.get();
        if (largest)
          passes[i].largest(loops, source, to);
        else
          passes[i].sum(loops, source, to);
        source = to;
      }
    }
  });
  return out;
}

}  // namespace

AxisMap AxisMap::transposed() const {
  std::vector<std::vector<std::pair<std::int64_t, float>>> lists(static_cast<std::size_t>(in));
  for (std::int64_t o = 0; o < out(); ++o)
    for (std::int64_t e = begin[std::size_t(o)]; e < begin[std::size_t(o) + 1]; ++e)
      lists[std::size_t(index[std::size_t(e)])].emplace_back(o, weight[std::size_t(e)]);
  AxisMap result;
  result.in = out();
  for (const auto& list : lists) {
    for (const auto& [o, w] : list) result.add(o, double(w));
    result.close();
  }
  return result;
}

bool AxisMap::same() const {
  if (out() != in || std::int64_t(index.size()) != in) return false;
  for (std::int64_t i = 0; i < in; ++i)
    if (begin[std::size_t(i)] != i || index[std::size_t(i)] != i || weight[std::size_t(i)] != 1) return false;
  return true;
}

Tensor separable(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps) {
  return ops.record("separable", run(ops, x, maps, false), {&x}, [maps](const Pull& p) -> std::vector<Tensor> {
    std::vector<AxisMap> back;
    for (const auto& map : maps) back.push_back(map.transposed());
    return {separable(p.ops, p.gradient(), back)};
  });
}

Tensor separable_max(const Ops& ops, const Tensor& x, const std::vector<AxisMap>& maps) { return run(ops, x, maps, true); }

}  // namespace heed::ops
