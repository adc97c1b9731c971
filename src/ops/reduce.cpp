// SPDX-License-Identifier: Apache-2.0
// Reductions sum in f64, each lane in its own order, so the number of threads does not matter.
#include <cmath>
#include <limits>

#include "ops/lanes.h"
#include "ops/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// value(first, length) of each lane over `axes`.
template <class F>
Tensor reduce(int threads, const Tensor& x, const std::vector<int>& axes, bool keepdim, F&& value) {
  need(x, DType::f32, "x");
  std::vector<bool> gone(std::size_t(x.rank()), false);
  for (int axis : axes) {
    const auto i = std::size_t(axis_of(axis, x.rank()));
    if (gone[i]) fail("axes", "each axis once", std::to_string(axis) + " again");
    gone[i] = true;
  }
  std::vector<int> order, last;
  std::vector<std::int64_t> extents;
  std::int64_t length = 1, count = 1;
  for (int i = 0; i < x.rank(); ++i) {
    (gone[std::size_t(i)] ? last : order).push_back(i);
    (gone[std::size_t(i)] ? length : count) *= x.extent(i);
    if (!gone[std::size_t(i)]) extents.push_back(x.extent(i));
    else if (keepdim) extents.push_back(1);
  }
  order.insert(order.end(), last.begin(), last.end());
  const Tensor from = x.permute(order).dense();
  Tensor out(DType::f32, Shape(extents));
  pieces(threads, count, 16384 / std::max<std::int64_t>(length, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out.data<float>()[i] = value(from.data<float>() + i * length, length);
  });
  return out;
}

/// body(lane of x, lane of out, length) with the axis moved last and back.
template <class F>
Tensor along(int threads, const Tensor& x, int axis, F&& body) {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.transpose(axis, x.rank() - 1).dense();
  const std::int64_t length = x.extent(axis);
  Tensor out(DType::f32, from.shape());
  if (length != 0)
    pieces(threads, x.count() / length, 16384 / length, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) body(from.data<float>() + i * length, out.data<float>() + i * length, length);
    });
  return out.transpose(axis, x.rank() - 1).dense();
}

float largest(const float* x, std::int64_t n) {
  float best = -infinity;
  for (std::int64_t i = 0; i < n; ++i) best = x[i] > best || x[i] != x[i] ? x[i] : best;
  return best;
}

float log_sum(const float* x, std::int64_t n) {
  const float top = largest(x, n);
  if (std::isinf(top)) return top;
  double total = 0;
  for (std::int64_t i = 0; i < n; ++i) total += std::exp(x[i] - top);
  return float(top + std::log(total));
}

double total_of(const float* x, std::int64_t n) {
  double total = 0;
  for (std::int64_t i = 0; i < n; ++i) total += x[i];
  return total;
}

void some(std::int64_t n, const Tensor& x) {
  if (n == 0) fail("x", "something to compare along the axis", x.shape().text());
}

}  // namespace

Tensor Ops::sum(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return reduce(context_.threads, x, axes, keepdim, [](const float* v, std::int64_t n) { return float(total_of(v, n)); });
}

Tensor Ops::mean(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return reduce(context_.threads, x, axes, keepdim, [](const float* v, std::int64_t n) { return float(total_of(v, n) / double(n)); });
}

Tensor Ops::max(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return reduce(context_.threads, x, axes, keepdim, [&](const float* v, std::int64_t n) {
    some(n, x);
    return largest(v, n);
  });
}

Tensor Ops::min(const Tensor& x, const std::vector<int>& axes, bool keepdim) const {
  return reduce(context_.threads, x, axes, keepdim, [&](const float* v, std::int64_t n) {
    some(n, x);
    float best = infinity;
    for (std::int64_t i = 0; i < n; ++i) best = v[i] < best || v[i] != v[i] ? v[i] : best;
    return best;
  });
}

Tensor Ops::argmax(const Tensor& x, int axis, bool keepdim) const {
  need(x, DType::f32, "x");
  axis = axis_of(axis, x.rank());
  const Tensor from = x.dense();
  const Lanes cut = lanes(x.shape(), axis);
  auto extents = x.shape().vector();
  if (keepdim) extents[std::size_t(axis)] = 1;
  else extents.erase(extents.begin() + axis);
  Tensor out(DType::i64, Shape(extents));
  for (std::int64_t o = 0; o < cut.outer; ++o)
    for (std::int64_t i = 0; i < cut.inner; ++i) {
      some(cut.extent, x);
      const float* lane = from.data<float>() + o * cut.extent * cut.inner + i;
      std::int64_t best = 0;
      for (std::int64_t e = 1; e < cut.extent; ++e) {
        const float value = lane[e * cut.inner], top = lane[best * cut.inner];
        if (top == top && (value > top || value != value)) best = e;
      }
      out.data<std::int64_t>()[o * cut.inner + i] = best;
    }
  return out;
}

Tensor Ops::softmax(const Tensor& x, int axis) const {
  return along(context_.threads, x, axis, [](const float* v, float* to, std::int64_t n) {
    const float top = largest(v, n);
    double total = 0;
    for (std::int64_t i = 0; i < n; ++i) total += to[i] = top == -infinity ? 0.0f : std::exp(v[i] - top);
    const float factor = total == 0 ? 0.0f : float(1 / total);
    for (std::int64_t i = 0; i < n; ++i) to[i] *= factor;
  });
}

Tensor Ops::log_softmax(const Tensor& x, int axis) const {
  return along(context_.threads, x, axis, [](const float* v, float* to, std::int64_t n) {
    const float total = log_sum(v, n);
    for (std::int64_t i = 0; i < n; ++i) to[i] = v[i] == -infinity ? v[i] : v[i] - total;
  });
}

Tensor Ops::logsumexp(const Tensor& x, int axis, bool keepdim) const {
  return reduce(context_.threads, x, {axis}, keepdim, log_sum);
}

Tensor Ops::cumsum(const Tensor& x, int axis) const {
  return along(context_.threads, x, axis, [](const float* v, float* to, std::int64_t n) {
    double total = 0;
    for (std::int64_t i = 0; i < n; ++i) to[i] = float(total += v[i]);
  });
}

}  // namespace v0
}  // namespace heed
