// SPDX-License-Identifier: Apache-2.0
// The vocabulary of tensors: pure functions of their inputs. Values are f32, indices i64, masks bool; any strides.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "heed/attend.h"
#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// What attend() returns besides `out`: a sum of these.
enum AttendExtra : unsigned { want_lse = 1, want_row_max = 2, want_column_sums = 4, want_weights = 8 };

/// Extras that were not asked for are undefined tensors.
struct Attended {
  Tensor out, lse, row_max, column_sums, weights;
};

/// Every method checks dtypes and shapes, throws Error, and writes only into new storage. A result may share the storage
/// of an argument (split). A negative axis counts from the end. Two tensors broadcast by numpy's rules.
class Ops {
 public:
  explicit Ops(const Context& context) : context_(context) {}
  const Context& context() const { return context_; }

  /// x[..., in] weight[out, in]^T + bias[out].
  Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) const;
  /// a[..., m, k] b[..., k, n], leading axes broadcast.
  Tensor matmul(const Tensor& a, const Tensor& b) const;

  Tensor add(const Tensor& a, const Tensor& b) const;
  Tensor sub(const Tensor& a, const Tensor& b) const;
  Tensor mul(const Tensor& a, const Tensor& b) const;
  Tensor div(const Tensor& a, const Tensor& b) const;
  Tensor maximum(const Tensor& a, const Tensor& b) const;  ///< NaN wins
  Tensor minimum(const Tensor& a, const Tensor& b) const;  ///< NaN wins
  Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b) const;
  Tensor scale(const Tensor& x, float factor) const;
  Tensor shift(const Tensor& x, float offset) const;
  Tensor exp(const Tensor& x) const;
  Tensor log(const Tensor& x) const;
  Tensor sigmoid(const Tensor& x) const;
  Tensor tanh(const Tensor& x) const;
  Tensor relu(const Tensor& x) const;
  Tensor gelu(const Tensor& x, bool by_tanh = false) const;  ///< by erf unless by_tanh
  Tensor silu(const Tensor& x) const;
  Tensor softplus(const Tensor& x) const;
  Tensor neg(const Tensor& x) const;
  Tensor sqrt(const Tensor& x) const;
  Tensor rsqrt(const Tensor& x) const;
  Tensor square(const Tensor& x) const;
  Tensor abs(const Tensor& x) const;

  Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor max(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor min(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor argmax(const Tensor& x, int axis, bool keepdim = false) const;  ///< the first of equals
  /// A lane that is -inf throughout gives zeros.
  Tensor softmax(const Tensor& x, int axis) const;
  /// A lane that is -inf throughout gives -inf.
  Tensor log_softmax(const Tensor& x, int axis) const;
  Tensor logsumexp(const Tensor& x, int axis, bool keepdim = false) const;
  Tensor cumsum(const Tensor& x, int axis) const;

  Tensor layer_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {}, float epsilon = 1e-5f) const;  ///< last axis
  Tensor rms_norm(const Tensor& x, const Tensor& weight = {}, float epsilon = 1e-6f) const;                             ///< last axis
  /// x[B, N, H, D], cos and sin [N, R/2]: turns the pairs (i, i + R/2), interleaved (2i, 2i + 1), of the first R of D.
  Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved = false) const;

  // These six take any dtype.
  Tensor concat(const std::vector<Tensor>& list, int axis) const;
  std::vector<Tensor> split(const Tensor& x, int axis, const std::vector<std::int64_t>& sizes) const;
  Tensor stack(const std::vector<Tensor>& list, int axis) const;
  Tensor repeat(const Tensor& x, int axis, std::int64_t times) const;  ///< each element `times` times in a row
  /// out[.., i, ..] = x[.., index[.., i, ..], ..]; the other axes of index broadcast to x.
  Tensor gather(const Tensor& x, int axis, const Tensor& index) const;
  Tensor index_select(const Tensor& x, int axis, const Tensor& index) const;

  Tensor pad(const Tensor& x, int axis, std::int64_t before, std::int64_t after, float value = 0) const;
  Tensor embedding(const Tensor& table, const Tensor& index) const;  ///< table[rows, d], index[...] -> [..., d]
  /// Sorted values and their indices; equals by lower index; NaN is the largest.
  std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis, bool largest = true) const;
  Tensor argsort(const Tensor& x, int axis, bool descending = false) const;  ///< stable
  Tensor one_hot(const Tensor& index, std::int64_t classes) const;
  Tensor arange(std::int64_t begin, std::int64_t end, std::int64_t step = 1) const;  ///< i64
  Tensor full(const Shape& shape, float value) const;

  Attended attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options = {}, unsigned extras = 0) const;

 private:
  const Context& context_;
};

}  // namespace v0
}  // namespace heed
