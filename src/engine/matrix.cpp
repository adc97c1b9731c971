// SPDX-License-Identifier: Apache-2.0
#include "engine/matrix.h"

#include "base/parallel.h"
#include "heed/error.h"

namespace heed::engine {

Matrix::Matrix(const Tensor& weight) {
  const DType type = weight.dtype();
  if (weight.rank() != 2) fail("weight", "[out, in]", weight.shape().text());
  if (type != DType::f32 && type != DType::bf16 && type != DType::f16) fail("weight", "f32, bf16 or f16", name_of(type));
  const auto dense = std::make_shared<Tensor>(weight.dense());
  outputs_ = weight.extent(0), inputs_ = weight.extent(1);
  weight_.type = type == DType::f32 ? GgmlType::F32 : type == DType::bf16 ? GgmlType::BF16 : GgmlType::F16;
  weight_.shape = weight.shape();
  weight_.data = dense->data<std::byte>();
  weight_.bytes = std::size_t(weight.count()) * size_of(type);
  owner_ = dense;
}

Matrix::Matrix(const GgufTensor& weight, std::shared_ptr<const void> owner) : weight_(weight), owner_(std::move(owner)) {
  if (weight.shape.rank() != 2) fail(weight.name, "[out, in]", weight.shape.text());
  outputs_ = weight.shape[0], inputs_ = weight.shape[1];
}

void Matrix::row(std::int64_t i, float* to) const {
  if (i < 0 || i >= outputs_) fail("i", "a row below " + std::to_string(outputs_), std::to_string(i));
  dequantise(weight_.type, weight_.data + weight_.bytes / std::size_t(outputs_) * std::size_t(i), inputs_, to);
}

void Matrix::multiply(const Context& context, Activations& x, float* y, std::int64_t ldy) const {
  if (x.k_ != inputs_) fail("x", "rows of " + std::to_string(inputs_) + " channels", std::to_string(x.k_));
  base::parallel(context.threads, (outputs_ + 15) / 16, [&](std::int64_t task, int) {
    std::vector<float> w(static_cast<std::size_t>(inputs_));
    for (std::int64_t o = task * 16; o < std::min(outputs_, task * 16 + 16); ++o) {
      row(o, w.data());
      for (std::int64_t i = 0; i < x.n_; ++i) {
        float lanes[16] = {};
        const float* a = x.x_ + i * x.ldx_;
        std::int64_t p = 0;
        for (; p + 16 <= inputs_; p += 16)
          for (int l = 0; l < 16; ++l) lanes[l] += a[p + l] * w[std::size_t(p + l)];
        for (; p < inputs_; ++p) lanes[0] += a[p] * w[std::size_t(p)];
        float sum = 0;
        for (const float lane : lanes) sum += lane;
        y[i * ldy + o] = sum;
      }
    }
  });
}

}  // namespace heed::engine
