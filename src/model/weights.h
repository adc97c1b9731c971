// SPDX-License-Identifier: Apache-2.0
// A decoder's weights, ready for products.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/matrix.h"
#include "heed/gguf.h"
#include "model/config.h"

namespace heed::model {

/// A matrix with its bias, f32 (outputs), which may be undefined.
struct Linear {
  engine::Matrix matrix;
  Tensor bias;
};

struct LayerWeights {
  Tensor attention_norm, mlp_norm;  ///< f32 (width)
  Linear q, k, v, o, gate, up, down;
};

struct Weights {
  engine::Matrix embedding, head;  ///< head: undefined where tied
  Tensor norm;                     ///< f32 (width)
  std::vector<LayerWeights> layers;

  const engine::Matrix& output() const { return head.defined() ? head : embedding; }
  std::int64_t bytes() const;
};

/// Names as in Hugging Face's state dicts. Throws Error naming a tensor that is missing or of another shape.
Weights read_weights(const Config& config, const std::map<std::string, Tensor>& tensors, const std::string& file, int threads);
/// Names as in GGUF, weights as they are stored.
Weights read_weights(const Config& config, const Gguf& gguf, const std::string& file, int threads);

}  // namespace heed::model
