// SPDX-License-Identifier: Apache-2.0
// Keys and values of one layer, one contiguous run of tokens a head.
#pragma once
#include <cstdint>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed::cache {

class KeyValues {
 public:
  /// Room for `capacity` tokens of `heads` keys of key_width and values of value_width, kept as f32, bf16 or f16.
  KeyValues(DType kept, std::int64_t capacity, std::int64_t heads, std::int64_t key_width, std::int64_t value_width);

  /// Adds the tokens of k (1, n, heads, D) and v (1, n, heads, E), f32, rounding to nearest even. Throws Error where they do not fit.
  void append(const Tensor& k, const Tensor& v, const Context& context);
  /// Forgets tokens [from, from + count); later ones move down.
  void erase(std::int64_t from, std::int64_t count);

  std::int64_t size() const { return size_; }
  std::int64_t capacity() const { return capacity_; }
  DType dtype() const { return keys_.dtype(); }
  /// (1, length, heads, width) of tokens [from, from + length): views that the next append or erase changes.
  Tensor keys(std::int64_t from, std::int64_t length) const;
  Tensor values(std::int64_t from, std::int64_t length) const;
  /// Of the tokens held.
  std::int64_t bytes() const;

 private:
  std::int64_t capacity_, size_ = 0;
  Tensor keys_, values_;  ///< (heads, capacity, width)
};

/// x, f32, any shape, as dense rows of another float dtype; itself for f32.
Tensor rounded(const Tensor& x, DType dtype, const Context& context);

}  // namespace heed::cache
