// SPDX-License-Identifier: Apache-2.0
// The inner loops over lists of rows, one table an instruction set. Sums are f32; 16-bit rows are widened when loaded.
#pragma once
#include <cstdint>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed::kernel {

/// n rows of a table: row e begins at element index[e] * stride (no index: e * stride); the elements of a row are consecutive.
struct Picked {
  const void* rows = nullptr;
  std::int64_t stride = 0;
  const std::int64_t* index = nullptr;
  std::int64_t n = 0;
};

inline constexpr int list_slack = 16;  ///< floats behind a list of n that loops may write; every list in scratch has this room

/// For rows of one dtype. Rows whose factor (w, ds) is 0 are not read.
struct RowLoops {
  /// s[e] (+)= factor * sum over d of q[d] row_e[d].
  void (*dot)(const float* q, const Picked& rows, std::int64_t width, float factor, bool adding, float* s);
  /// out[d] += sum over e, in order, of w[e] row_e[d].
  void (*add)(const float* w, const Picked& rows, std::int64_t width, float* out);
  /// s[e] = sum over d of a[d] leaky(x[d] + row_e[d] + feature_e[d]); features.rows may be null.
  void (*leaky_dot)(const float* a, const float* x, const Picked& rows, const Picked& features, std::int64_t width, float slope, float* s);
  /// Its derivative: with g_e[d] = ds[e] a[d] leaky'(x[d] + row_e[d] + feature_e[d]),
  /// dx[d] += sum of g_e[d]; da[d] += sum of ds[e] leaky(..); df[e * width + d] = g_e[d]; da and df may be null.
  void (*leaky_add)(const float* ds, const float* a, const float* x, const Picked& rows, const Picked& features, std::int64_t width,
                    float slope, float* dx, float* da, float* df);
};

struct ListTable {
  RowLoops f32, bf16, f16;

  /// to[e] (+)= from[index[e] * stride] (no index: e * stride); |index|, |stride| < 2^31.
  void (*gather)(const float* from, std::int64_t stride, const std::int64_t* index, std::int64_t n, bool adding, float* to);
  /// x = leaky(x).
  void (*leaky)(float* x, std::int64_t n, float slope);
  /// x = e^(x - max) / sum, with the max and the sum returned; zeros where all are -inf.
  void (*softmax)(float* x, std::int64_t n, float* max, float* sum);

  /// g = p (g - sum(p g) + shift): from the gradients of the weights p = softmax(s) to those of s; 0 where p is 0.
  void (*softmax_back)(const float* p, float* g, std::int64_t n, float shift);

  const RowLoops& rows(DType dtype) const { return dtype == DType::f32 ? f32 : dtype == DType::bf16 ? bf16 : f16; }
};

extern const ListTable avx2_lists, avx512_lists;

inline const ListTable& lists_of(Isa isa) {
  return isa == Isa::avx512 || isa == Isa::avx512_bf16 || isa == Isa::amx ? avx512_lists : avx2_lists;
}

}  // namespace heed::kernel
