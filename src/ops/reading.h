// SPDX-License-Identifier: Apache-2.0
// What windows over maps read, for the loops that pack it or read it where it lies.
#pragma once
#include <array>
#include <vector>

#include "ops/sliding.h"

namespace heed::ops {

/// On each axis, tap t of the window at place p reads element step p + taps[t] of a map [*in], and 0 beyond it.
struct Reading {
  Triple in, out, step;
  std::array<std::vector<std::int64_t>, 3> taps;
  std::array<std::vector<std::int64_t>, 3> shift;  ///< of a tap: how far behind the channel's first its map begins, the axes' sum
  std::int64_t channel;                            ///< floats of a channel

  /// Windows [*places] that stand an element apart, without taps yet.
  Reading(const Triple& map, const Triple& places) : in(map), out(places), step{1, 1, 1}, channel(product_of(map)) {}
  explicit Reading(const Sliding& s);

  void add(int axis, std::int64_t tap, std::int64_t behind = 0);
  std::int64_t count() const { return std::int64_t(taps[0].size() * taps[1].size() * taps[2].size()); }
  /// Whether what a tap of consecutive windows reads is consecutive, too, but for what lies beyond the map.
  bool in_line() const { return step == Triple{1, 1, 1} && out[2] == in[2] && (out[0] == 1 || out[1] == in[1]); }
};

class Reader {
 public:
  Reader(const kernel::MapTable& loops, const Reading& reading);

  /// Packs 16 windows over `channels` channels from x on to [channels * taps][16]. Windows are counted from place `from` of each image on,
  /// `end` of them in all; the next image is `image` floats behind.
  void pack(const float* x, std::int64_t image, std::int64_t channels, std::int64_t from, std::int64_t first, std::int64_t end,
            float* to) const;
  /// Of a reading in line: which of the windows [first, first + 64) of an image read the map, lanes[taps][4] of 16 bits, ...
  void lanes(std::int64_t first, std::uint16_t* to) const;
  /// ... where they do, elements from the first window's own, ...
  std::vector<std::int64_t> offsets() const;
  /// ... and the first and last offset on each map that they read.
  struct Reach {
    std::int64_t first, last;
  };
  std::vector<Reach> reaches() const;

 private:
  struct Run;
  template <class F>
  void each_row(F&& body) const;
  int runs_of(std::int64_t image, std::int64_t from, std::int64_t first, std::int64_t end, Run* runs) const;
  std::int64_t row(const Run& run, std::int64_t d, std::int64_t h) const;
  bool reads(const Run& run, std::int64_t d, std::int64_t h) const;
  std::uint32_t lanes_of(const Run& run, std::size_t w) const;
  void side_by_side(const float* x, std::int64_t channels, const Run* runs, int n, float* to) const;
  void apart(const float* x, std::int64_t channels, const Run* runs, int n, float* to) const;

  const kernel::MapTable& loops_;
  const Reading& r_;
  std::vector<std::int64_t> first_, last_;  ///< of each tap of the last axis, the places that read the map
};

}  // namespace heed::ops
