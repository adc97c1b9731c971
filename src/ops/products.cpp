// SPDX-License-Identifier: Apache-2.0
#include "kernel/product.h"
#include "ops/lanes.h"
#include "ops/pairs.h"
#include "heed/ops.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

Tensor Ops::matmul(const Tensor& a, const Tensor& b) const {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  if (a.rank() < 2) fail("a", "rank 2 or more", a.shape().text());
  if (b.rank() < 2) fail("b", "rank 2 or more", b.shape().text());
  const std::int64_t m = a.extent(-2), k = a.extent(-1), n = b.extent(-1);
  if (b.extent(-2) != k) fail("b", "[..., " + std::to_string(k) + ", n]", b.shape().text());
  auto tail = a.shape().vector(), other = b.shape().vector();
  tail.resize(tail.size() - 2);
  other.resize(other.size() - 2);
  const Shape lead = joint(Shape(tail), Shape(other), "b");
  auto extents = lead.vector();
  extents.insert(extents.end(), {m, n});
  Tensor out(DType::f32, Shape(extents));
  extents[extents.size() - 2] = m, extents.back() = k;
  const Tensor left = a.broadcast(Shape(extents));
  extents[extents.size() - 2] = k, extents.back() = n;
  const Tensor right = b.broadcast(Shape(extents));
  product::run(context_, product::loops_of(context_.isa), lead.count(), m, n, k, [&](std::int64_t job) {
    std::int64_t from = 0, at = 0, rest = job;
    for (int i = lead.rank() - 1; i >= 0; --i) {
      const std::int64_t here = rest % lead[i];
      rest /= lead[i];
      from += here * left.stride(i);
      at += here * right.stride(i);
    }
    return product::Job{{left.raw<float>() + from, left.stride(-2), left.stride(-1)},
                        {right.raw<float>() + at, right.stride(-2), right.stride(-1)},
                        out.raw<float>() + job * m * n,
                        n};
  });
  return record("matmul", out, {&a, &b}, [a, b](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? p.ops.sum_to(p.ops.matmul(p.gradient(), b.transpose(-1, -2)), a.shape()) : Tensor(),
            p.wants(1) ? p.ops.sum_to(p.ops.matmul(a.transpose(-1, -2), p.gradient()), b.shape()) : Tensor()};
  });
}

namespace {
/// x[rows, in] W^T. Under "fast" words of two bf16 are multiplied, where rounding the weights pays.
Tensor rows_by_weight(const Ops& ops, const Tensor& x, const Tensor& weight) {
  constexpr std::int64_t least = 16;  // rows
  const std::int64_t m = x.extent(0), n = weight.extent(0), k = weight.extent(1), words = (k + 1) / 2;
  const product::Loops* loops = m < least ? nullptr : fast_loops(ops.context());
  if (!loops) return ops.matmul(x, weight.transpose(0, 1));
  const Tensor left = pairs_of(ops.context(), x.with_origin(nullptr).dense(ops.context().threads), m, k, 1),
               right = pairs_of(ops.context(), weight.with_origin(nullptr).dense(), n, k, 1), out(DType::f32, {m, n});
  product::run(ops.context(), *loops, 1, m, n, words, [&](std::int64_t) {
    return product::Job{{left.raw<float>(), words, 1}, {right.raw<float>(), 1, words}, out.raw<float>(), n};
  });
  return ops.record("matmul", out, {&x, &weight}, [x, weight](const Pull& p) -> std::vector<Tensor> {
    return {p.wants(0) ? p.ops.matmul(p.gradient(), weight) : Tensor(),
            p.wants(1) ? p.ops.matmul(p.gradient().transpose(0, 1), x) : Tensor()};
  });
}
}  // namespace

Tensor Ops::linear(const Tensor& x, const Tensor& weight, const Tensor& bias) const {
  need(x, DType::f32, "x");
  need(weight, DType::f32, "weight");
  if (weight.rank() != 2) fail("weight", "[out, in]", weight.shape().text());
  const std::int64_t in = weight.extent(1), wide = weight.extent(0);
  if (x.rank() < 1 || x.extent(-1) != in) fail("x", "[..., " + std::to_string(in) + "]", x.shape().text());
  if (bias.defined()) {
    need(bias, DType::f32, "bias");
    if (bias.shape() != Shape{wide}) fail("bias", Shape{wide}.text(), bias.shape().text());
  }
  auto extents = x.shape().vector();
  extents.back() = 1;
  const std::int64_t rows = Shape(extents).count();
  extents.back() = wide;
  const Tensor flat = x.reshape(Shape{rows, in}, context_.threads);
  const Tensor product = rows_by_weight(*this, flat, weight), out = product.with_origin(nullptr);
  if (bias.defined()) {
    const Tensor row = bias.dense(context_.threads);
    pieces(context_.threads, rows, 16384 / std::max<std::int64_t>(wide, 1), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::int64_t j = 0; j < wide; ++j) out.raw<float>()[i * wide + j] += row.raw<float>()[j];
    });
    if (wanted({&product, &bias}))  // the bias was added in place
      return record("linear", out, {&product, &bias},
                    [](const Pull& p) -> std::vector<Tensor> {
                      return {p.gradient(), p.wants(1) ? p.ops.sum(p.gradient(), {0}) : Tensor()};
                    })
          .reshape(Shape(extents));
  }
  return product.reshape(Shape(extents));
}

}  // namespace v0
}  // namespace heed
