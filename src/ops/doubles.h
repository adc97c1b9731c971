// SPDX-License-Identifier: Apache-2.0
// A few words in f64, between f32 inputs and f32 results, for quotients whose denominators are sums of both signs: where such a sum
// nearly vanishes, what rounding to f32 left in it would be most of the quotient. Nothing is recorded.
#pragma once
#include <utility>
#include <vector>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed::ops {

/// A tensor of f64. Its numbers travel as the bits of i64, so that views, copies and concatenations are those of Tensor.
class Doubles {
 public:
  Doubles() = default;
  explicit Doubles(const Shape& shape) : bits_(DType::i64, shape) {}
  /// The numbers of an f32 tensor; undefined where that is.
  Doubles(const Tensor& x);
  /// Rounded to f32.
  Tensor narrow() const;

  bool defined() const { return bits_.defined(); }
  const Shape& shape() const { return bits_.shape(); }
  std::int64_t extent(int axis) const { return bits_.extent(axis); }
  std::int64_t stride(int axis) const { return bits_.stride(axis); }
  std::int64_t count() const { return bits_.count(); }
  double* data() const { return bits_.data<double>(); }

  Doubles permute(const std::vector<int>& axes) const { return of(bits_.permute(axes)); }
  Doubles transpose(int a, int b) const { return of(bits_.transpose(a, b)); }
  Doubles slice(int axis, std::int64_t begin, std::int64_t length) const { return of(bits_.slice(axis, begin, length)); }
  Doubles broadcast(const Shape& shape) const { return of(bits_.broadcast(shape)); }
  Doubles reshape(const Shape& shape) const { return of(bits_.reshape(shape)); }
  Doubles dense() const { return of(bits_.dense()); }

 private:
  friend class DoubleOps;
  static Doubles of(Tensor bits) {
    Doubles x;
    x.bits_ = std::move(bits);
    return x;
  }
  Tensor bits_;
};

/// Words of Ops by their names there. Two tensors broadcast by numpy's rules; an f32 Tensor is taken as it is.
class DoubleOps {
 public:
  explicit DoubleOps(const Context& context) : context_(context) {}

  Doubles linear(const Doubles& x, const Doubles& weight, const Doubles& bias = {}) const;
  Doubles matmul(const Doubles& a, const Doubles& b) const;
  Doubles layer_norm(const Doubles& x, const Doubles& weight, const Doubles& bias, double epsilon) const;
  Doubles softmax(const Doubles& x, int axis) const;
  Doubles sum(const Doubles& x) const;  ///< over the last axis, which stays
  Doubles mean(const Doubles& x) const;
  Doubles concat(const std::vector<Doubles>& list, int axis) const;
  Doubles gelu(const Doubles& x) const;  ///< by erf
  /// The gradient of x from g, that of gelu(x), of layer_norm(x, weight, any bias, epsilon).
  Doubles gelu_back(const Doubles& x, const Doubles& g) const;
  Doubles layer_norm_back(const Doubles& x, const Doubles& weight, double epsilon, const Doubles& g) const;
  Doubles where(const Tensor& mask, const Doubles& a, const Doubles& b) const;
  Doubles number(double x) const;  ///< of rank 0

  Doubles add(const Doubles& a, const Doubles& b) const {
    return zip(a, b, [](double x, double y) { return x + y; });
  }
  Doubles sub(const Doubles& a, const Doubles& b) const {
    return zip(a, b, [](double x, double y) { return x - y; });
  }
  Doubles mul(const Doubles& a, const Doubles& b) const {
    return zip(a, b, [](double x, double y) { return x * y; });
  }
  Doubles scale(const Doubles& x, double factor) const {
    return map(x, [=](double v) { return v * factor; });
  }

  /// f of every element.
  template <class F>
  Doubles map(const Doubles& x, F&& f) const {
    const Doubles from = x.dense(), out(x.shape());
    pieces(context_.threads, x.count(), 8192, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out.data()[i] = f(from.data()[i]);
    });
    return out;
  }

  /// f of every pair.
  template <class F>
  Doubles zip(const Doubles& a, const Doubles& b, F&& f) const {
    const Shape shape = joint(a.shape(), b.shape(), "b");
    const Doubles left = a.broadcast(shape).dense(), right = b.broadcast(shape).dense(), out(shape);
    pieces(context_.threads, out.count(), 8192, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out.data()[i] = f(left.data()[i], right.data()[i]);
    });
    return out;
  }

 private:
  /// row(x, to, n) of every lane of the last axis.
  template <class F>
  Doubles rows(const Doubles& x, std::int64_t wide, F&& row) const;

  Context context_;
};

}  // namespace heed::ops
