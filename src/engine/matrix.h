// SPDX-License-Identifier: Apache-2.0
// Weight matrices made ready for products once, at loading; quantised weights stay quantised in memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "heed/context.h"
#include "heed/gguf.h"
#include "heed/tensor.h"
#include "kernel/product.h"

namespace heed::engine {

/// Rows x[n, k] that several matrices read. What a matrix needs of them (8-bit integers with a scale every 32 channels, or bf16) is
/// made by the first product that asks for it and kept for the next ones. One call at a time.
class Activations {
 public:
  Activations() = default;
  Activations(const float* x, std::int64_t n, std::int64_t k, std::int64_t ldx) { set(x, n, k, ldx); }
  /// Other rows, `ldx` floats apart, or new contents of the same ones; x must live until the last product. Storage is kept for reuse.
  void set(const float* x, std::int64_t n, std::int64_t k, std::int64_t ldx) {
    x_ = x, n_ = n, k_ = k, ldx_ = ldx;
    has_integers_ = has_bf16_ = false;
  }
  std::int64_t rows() const { return n_; }
  std::int64_t channels() const { return k_; }

 private:
  friend class Matrix;
  const product::Rows& integers(const Context& context, const product::Loops& loops);
  const std::uint16_t* bf16(const Context& context, const product::Loops& loops);

  const float* x_ = nullptr;
  std::int64_t n_ = 0, k_ = 0, ldx_ = 0;
  product::Rows rows_{};
  Tensor integers_, bf16_;  // storage
  bool has_integers_ = false, has_bf16_ = false;
};

/// A weight matrix [out, in]. Precision: strict and split are f32 products of the weights as they stand (dequantised, widened);
/// fast and int8 are integer products for quantised weights (8-bit activations), bf16 products for bf16 weights where the
/// instruction set has them, f32 products for the rest. Making one takes `threads` threads (0: all).
class Matrix {
 public:
  Matrix() = default;
  /// f32, bf16 or f16 [out, in], any strides; copied. Throws Error for another type or rank.
  explicit Matrix(const Tensor& weight, int threads = 0);
  /// Every type of gguf.h, [out, in]; copied, so its bytes (which `owner` keeps alive) are not needed afterwards. 4-bit codes take what
  /// they took in the file (Q4_K a third more, for f32 scales); 5- and 6-bit codes take 8 bits.
  Matrix(const GgufTensor& weight, const std::shared_ptr<const void>& owner, int threads = 0);

  bool defined() const { return outputs_ >= 0; }
  std::int64_t outputs() const { return outputs_; }
  std::int64_t inputs() const { return inputs_; }
  /// What it takes in memory.
  std::size_t bytes() const { return bytes_; }

  /// y[n, out] = x W^T, rows of y `ldy` floats apart. Throws Error when x has not `inputs()` channels. The same bits for any number of
  /// threads; a row's result does not depend on the other rows nor on how many there are.
  void multiply(const Context& context, Activations& x, float* y, std::int64_t ldy) const {
    const Product one{this, y, ldy};
    multiply(context, x, {&one, 1});
  }
  /// Several matrices that read the same rows, as one loop.
  struct Product {
    const Matrix* weight;
    float* y;
    std::int64_t ldy;
  };
  static void multiply(const Context& context, Activations& x, std::span<const Product> products);
  void multiply(const Context& context, const float* x, std::int64_t n, std::int64_t ldx, float* y, std::int64_t ldy) const {
    Activations rows(x, n, inputs_, ldx);
    multiply(context, rows, y, ldy);
  }

  /// W[i, :] in f32 (embedding look-up). Throws Error for i outside [0, outputs()).
  void row(std::int64_t i, float* to) const;

 private:
  /// How the rows of x are read.
  struct Way {
    const product::Loops* loops = nullptr;
    const product::Rows* integers = nullptr;  ///< null: floats
    const std::uint16_t* pairs = nullptr;     ///< null: f32
  };
  Way way(const Context& context, Activations& x) const;
  void block(const Way& way, const Activations& x, std::int64_t i, std::int64_t n, std::int64_t j, std::int64_t columns, float* to,
             std::int64_t ldy) const;
  const std::uint8_t* panel_at(std::int64_t index) const { return panels_.data<std::uint8_t>() + index * panel_; }
  void allocate(product::Layout layout, const Shape& shape, const std::string& name);
  template <class F>
  void fill(int threads, const F& row);

  product::Layout layout_ = product::Layout::f32;
  std::int64_t outputs_ = -1, inputs_ = 0, panel_ = 0;  // panel_: bytes of one
  std::size_t bytes_ = 0;
  Tensor panels_;
};

}  // namespace heed::engine
