// SPDX-License-Identifier: Apache-2.0
// The inner loops over rows of maps (images, volumes, signals), one table an instruction set.
#pragma once
#include <cstdint>

#include "heed/context.h"

namespace heed::kernel {

/// Lanes (bits) of 16 that read one row of a map, `offset` being lane 0's element.
struct Piece {
  std::int64_t offset;
  std::uint32_t lanes;
};

/// Channels of maps `channel` floats apart: tap t of window j < 64 reads x[c channel + offset[t] + j] where lanes[4 t + j / 16] has bit
/// j % 16, else 0.
struct Windows {
  const float* x;
  std::int64_t channel, channels, taps;
  const std::int64_t* offset;
  const std::uint16_t* lanes;
};

/// A kernel [high, wide] of high 2 to 5 or 7 over one map, `step` 1 or 2 on both axes: output i reads, by tap w, element step i + tap[w] of
/// a row, where lanes[w panels + i / 16] has bit i % 16, else 0.
struct Depthwise {
  static constexpr int rows = 7;  ///< of outputs at a time
  int high, wide, step;
  const std::int64_t* tap;
  const std::uint16_t* lanes;
  std::int64_t panels;

  static bool fits(std::int64_t high, std::int64_t step, std::int64_t rows_of_outputs) {
    return ((high >= 2 && high <= 5) || high == 7) && step <= 2 && rows_of_outputs >= rows;
  }
};

struct MapTable {
  /// Seven rows of n outputs: out[r][i] = start + sum over h, w of weight[w][h] rows[step r + h][step i + tap[w]].
  void (*depthwise)(const Depthwise& d, const float* const* rows, const float* weight, float start, float* out, std::int64_t out_row,
                    std::int64_t n);
  /// c[rows, n] = start[row], or c where that is null, + a[rows, channels taps] (rows `row` floats apart) by n <= 64 windows.
  void (*windows)(const Windows& w, const float* a, std::int64_t row, std::int64_t rows, const float* start, float* c, std::int64_t ldc,
                  std::int64_t n);
  /// The same of words, two bf16 each; null where there is no instruction for them.
  void (*paired_windows)(const Windows& w, const float* a, std::int64_t row, std::int64_t rows, const float* start, float* c,
                         std::int64_t ldc, std::int64_t n);
  /// For each row, rows of x `apart` and rows of out `out_apart` floats apart: out[i] = start + sum over t of weight[t] x[offset[t] + i].
  void (*taps)(const float* x, std::int64_t apart, std::int64_t rows, const std::int64_t* offset, const float* weight, std::int64_t count,
               float start, float* out, std::int64_t out_apart, std::int64_t n);
  /// One map with a kernel [high, wide]: out[r][i] = start + sum of weight[h, w] x[(step r + h) pitch + offset[w] + i].
  void (*slide)(const float* x, std::int64_t pitch, std::int64_t step, const std::int64_t* offset, const float* weight, int high, int wide,
                float start, float* out, std::int64_t out_apart, std::int64_t rows, std::int64_t n);
  /// One tap of 16 windows: to[c apart + l] = x[c channel + offset + step l] for the lanes l of each piece, 0 where there is none. No
  /// other element is touched. step 1 or 2.
  void (*columns)(const float* x, std::int64_t channel, std::int64_t channels, const Piece* pieces, int count, int step, float* to,
                  std::int64_t apart);
  /// Up to four taps side by side of 16 windows: to[c apart + t next + l] = x[c channel + at[l] + t], or 0 without bit t of inside[l].
  void (*quads)(const float* x, std::int64_t channel, std::int64_t channels, const std::int64_t* at, const std::uint8_t* inside, int count,
                float* to, std::int64_t next, std::int64_t apart);
  /// out[2 i] = a[i], out[2 i + 1] = b[i].
  void (*weave)(const float* a, const float* b, float* out, std::int64_t n);
  /// out[i] = x[step i].
  void (*skip)(const float* x, std::int64_t step, float* out, std::int64_t n);
  /// out[i] = the largest of x[offset[t] + i], count > 0; NaN wins.
  void (*largest)(const float* x, const std::int64_t* offset, std::int64_t count, float* out, std::int64_t n);
  /// total[t] += sum over i of g[i] x[offset[t] + i].
  void (*dots)(const float* g, const float* x, const std::int64_t* offset, std::int64_t count, std::int64_t n, double* total);
  /// out[i] = sum over t < count of weight[t n + i] x[index[t n + i]]; an element of weight 0 does not count, whatever it is.
  void (*pick)(const float* x, const std::int32_t* index, const float* weight, std::int64_t count, float* out, std::int64_t n);
  /// Elements and weights for pick() of n points (x, y), -1 and 1 being the edges of a map [high, wide] of less than 2^24 elements, or with
  /// `corners` its outer elements' centres: `each` times `each` elements a point, 1 (the nearest), 2 (linear) or 4 (cubic). Beyond the
  /// edges: 0 nothing, 1 the edge, 2 mirrored.
  void (*points)(const float* at, std::int64_t n, std::int64_t high, std::int64_t wide, int each, int edges, bool corners,
                 std::int32_t* index, float* weight);
  /// For each l < lanes: to[l][there, there + n) = from[l][at, at + n), in bytes.
  using Lanes = void (*)(const char* const* from, std::int64_t at, char* const* to, std::int64_t there, std::int64_t n, std::int64_t lanes);
  Lanes copy;
  /// The same in numbers of 32 bits, to[l][there + i] = from[l][at - i], or from[l][at].
  Lanes turn, spread;
  /// out[i] += factor x[i].
  void (*add)(const float* x, float factor, float* out, std::int64_t n);
  /// out[i] = factor x[i] + offset.
  void (*affine)(const float* x, float factor, float offset, float* out, std::int64_t n);
  /// Sum of x[i] and of (x[i] - mean)^2.
  double (*sum)(const float* x, std::int64_t n);
  double (*squares)(const float* x, float mean, std::int64_t n);
  /// Rows of windows shorter than this are better packed than read where they lie: masks cost more than loads.
  std::int64_t least_in_line;
};

extern const MapTable avx2_maps, avx512_maps, avx512_bf16_maps;

inline const MapTable& maps_of(Isa isa) {
  return isa == Isa::avx512 ? avx512_maps : isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_bf16_maps : avx2_maps;
}

}  // namespace heed::kernel
