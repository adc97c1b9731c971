// SPDX-License-Identifier: Apache-2.0
#include "ops/reading.h"

#include <algorithm>
#include <map>

namespace heed::ops {

namespace {
constexpr int panel = 16;

std::int64_t over(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
bool is_inside(std::int64_t at, std::int64_t extent) { return std::uint64_t(at) < std::uint64_t(extent); }
}  // namespace

Reading::Reading(const Sliding& s) : in(s.in), out(s.out), step(s.stride), channel(product_of(s.in)) {
  for (int a = 0; a < 3; ++a)
    for (std::int64_t k = 0; k < s.kernel[std::size_t(a)]; ++k) add(a, k * s.dilation[std::size_t(a)] - s.before[std::size_t(a)]);
}

void Reading::add(int axis, std::int64_t tap, std::int64_t behind) {
  taps[std::size_t(axis)].push_back(tap);
  shift[std::size_t(axis)].push_back(behind);
}

/// Windows of a panel in one row of places.
struct Reader::Run {
  std::int64_t base;  ///< the image's first element
  std::int64_t d, h;  ///< on the map, where the taps' offsets are 0
  std::int64_t w;     ///< the first window's place
  int lane, count;
};

Reader::Reader(const kernel::MapTable& loops, const Reading& reading) : loops_(loops), r_(reading) {
  for (const std::int64_t tap : r_.taps[2]) {  // places w with 0 <= step w + tap < in
    first_.push_back(tap < 0 ? over(-tap, r_.step[2]) : 0);
    last_.push_back(r_.in[2] > tap ? over(r_.in[2] - tap, r_.step[2]) : 0);
  }
}

int Reader::runs_of(std::int64_t image, std::int64_t from, std::int64_t first, std::int64_t end, Run* runs) const {
  const std::int64_t wide = r_.out[2], places = product_of(r_.out), each = places - from;
  int n = 0;
  for (int lane = 0; lane < panel && first < end;) {
    const std::int64_t place = from + first % each, row = place / wide, w = place % wide;
    const int count = int(std::min({std::int64_t{panel} - lane, wide - w, end - first}));
    runs[n++] = {first / each * image, row / r_.out[1] * r_.step[0], row % r_.out[1] * r_.step[1], w, lane, count};
    lane += count, first += count;
  }
  return n;
}

/// body(number of the first tap of a row of taps, d, h): taps d and h of the first two axes.
template <class F>
void Reader::each_row(F&& body) const {
  std::int64_t t = 0;
  for (std::size_t d = 0; d < r_.taps[0].size(); ++d)
    for (std::size_t h = 0; h < r_.taps[1].size(); ++h, t += std::int64_t(r_.taps[2].size())) body(t, d, h);
}

std::int64_t Reader::row(const Run& run, std::int64_t d, std::int64_t h) const {
  return run.base + ((run.d + d) * r_.in[1] + run.h + h) * r_.in[2];
}

bool Reader::reads(const Run& run, std::int64_t d, std::int64_t h) const {
  return is_inside(run.d + d, r_.in[0]) && is_inside(run.h + h, r_.in[1]);
}

/// Lanes of a run that tap w of the last axis finds on the map.
std::uint32_t Reader::lanes_of(const Run& run, std::size_t w) const {
  const std::int64_t begin = std::max(first_[w] - run.w, std::int64_t{0}), end = std::min<std::int64_t>(last_[w] - run.w, run.count);
  return begin < end ? ((1u << (end - begin)) - 1) << (run.lane + begin) : 0;
}

void Reader::pack(const float* x, std::int64_t image, std::int64_t channels, std::int64_t from, std::int64_t first, std::int64_t end,
                  float* to) const {
  Run runs[panel];
  const int n = runs_of(image, from, first, end, runs);
  if (r_.step[2] <= 2)
    side_by_side(x, channels, runs, n, to);
  else
    apart(x, channels, runs, n, to);
}

/// A step of one or two elements: a run is loaded at once.
void Reader::side_by_side(const float* x, std::int64_t channels, const Run* runs, int n, float* to) const {
  for (std::size_t w = 0; w < r_.taps[2].size(); ++w) {
    std::uint32_t lanes[panel];
    for (int i = 0; i < n; ++i) lanes[i] = lanes_of(runs[i], w);
    each_row([&](std::int64_t t, std::size_t d, std::size_t h) {
      kernel::Piece pieces[panel];
      int some = 0;
      for (int i = 0; i < n; ++i)
        if (lanes[i] != 0 && reads(runs[i], r_.taps[0][d], r_.taps[1][h]))
          pieces[some++] = {row(runs[i], r_.taps[0][d], r_.taps[1][h]) + (runs[i].w - runs[i].lane) * r_.step[2] + r_.taps[2][w], lanes[i]};
      loops_.columns(x, r_.channel, channels, pieces, some, int(r_.step[2]), to + (t + std::int64_t(w)) * panel, r_.count() * panel);
    });
  }
}

/// Longer steps: up to four taps of each window are loaded at once.
void Reader::apart(const float* x, std::int64_t channels, const Run* runs, int n, float* to) const {
  const auto& taps = r_.taps[2];
  for (std::size_t w = 0; w < taps.size();) {
    int count = 1;
    while (count < 4 && w + std::size_t(count) < taps.size() && taps[w + std::size_t(count)] == taps[w] + count) ++count;
    std::uint8_t across[panel] = {};
    std::int64_t column[panel] = {};
    for (int i = 0; i < n; ++i)
      for (int l = 0; l < runs[i].count; ++l) {
        const std::int64_t at = (runs[i].w + l) * r_.step[2] + taps[w];
        column[runs[i].lane + l] = row(runs[i], 0, 0) + at;
        for (int t = 0; t < count; ++t) across[runs[i].lane + l] |= std::uint8_t(is_inside(at + t, r_.in[2]) << t);
      }
    each_row([&](std::int64_t t, std::size_t d, std::size_t h) {
      std::uint8_t inside[panel] = {};
      for (int i = 0; i < n; ++i)
        if (reads(runs[i], r_.taps[0][d], r_.taps[1][h])) std::copy_n(across + runs[i].lane, runs[i].count, inside + runs[i].lane);
      loops_.quads(x + (r_.taps[0][d] * r_.in[1] + r_.taps[1][h]) * r_.in[2], r_.channel, channels, column, inside, count,
                   to + (t + std::int64_t(w)) * panel, panel, r_.count() * panel);
    });
    w += std::size_t(count);
  }
}

void Reader::lanes(std::int64_t first, std::uint16_t* to) const {
  const std::int64_t places = product_of(r_.out);
  for (int v = 0; v < 4; ++v, first += panel, ++to) {
    Run runs[panel];
    const int n = runs_of(0, 0, first, places, runs);
    for (std::size_t w = 0; w < r_.taps[2].size(); ++w) {
      std::uint32_t across[panel];
      for (int i = 0; i < n; ++i) across[i] = lanes_of(runs[i], w);
      each_row([&](std::int64_t t, std::size_t d, std::size_t h) {
        std::uint32_t all = 0;
        for (int i = 0; i < n; ++i) all |= reads(runs[i], r_.taps[0][d], r_.taps[1][h]) ? across[i] : 0;
        to[4 * (t + std::int64_t(w))] = std::uint16_t(all);
      });
    }
  }
}

std::vector<std::int64_t> Reader::offsets() const {
  std::vector<std::int64_t> all;
  each_row([&](std::int64_t, std::size_t d, std::size_t h) {
    for (std::size_t w = 0; w < r_.taps[2].size(); ++w)
      all.push_back((r_.taps[0][d] * r_.in[1] + r_.taps[1][h]) * r_.in[2] + r_.taps[2][w] + r_.shift[0][d] + r_.shift[1][h] +
                    r_.shift[2][w]);
  });
  return all;
}

std::vector<Reader::Reach> Reader::reaches() const {
  std::map<std::int64_t, Reach> maps;
  const auto all = offsets();
  each_row([&](std::int64_t t, std::size_t d, std::size_t h) {
    for (std::size_t w = 0; w < r_.taps[2].size(); ++w) {
      const std::int64_t at = all[std::size_t(t) + w];
      Reach& reach = maps.emplace(r_.shift[0][d] + r_.shift[1][h] + r_.shift[2][w], Reach{at, at}).first->second;
      reach = {std::min(reach.first, at), std::max(reach.last, at)};
    }
  });
  std::vector<Reach> list;
  for (const auto& [map, reach] : maps) list.push_back(reach);
  return list;
}

}  // namespace heed::ops
