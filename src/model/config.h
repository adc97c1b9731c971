// SPDX-License-Identifier: Apache-2.0
// What config.json and GGUF's metadata say, under one set of names.
#pragma once
#include <string>
#include <vector>

#include "heed/gguf.h"
#include "heed/model.h"

namespace heed::model {

/// How positions turn queries and keys. The schemes are those of transformers' modeling_rope_utils.
struct Rope {
  double base = 10000, factor = 1;
  double original = 0;                           ///< trained length (llama3, yarn, dynamic)
  double low_frequency = 1, high_frequency = 4;  ///< llama3
  double beta_fast = 32, beta_slow = 1;          ///< yarn
  double attention_factor = 1;                   ///< yarn: multiplies cos and sin
  bool truncate = true;                          ///< yarn
  std::vector<float> divisors;                   ///< GGUF's rope_freqs.weight: each frequency is divided by its own
};

struct Config : ModelConfig {
  Rope rope;
  bool tied = false;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  std::vector<bool> windowed;  ///< by layer: whether `window` holds there
  int bos = -1;
  std::vector<int> ends;  ///< tokens that end a text
};

/// `text` is config.json's; `file` its name for errors. Throws Error naming the key.
Config read_config(const std::string& text, const std::string& file);
/// Throws Error naming the metadata key.
Config read_config(const Gguf& gguf, const std::string& file);

/// Throws Error for sizes that no model has, or that do not fit each other, before memory is taken for them.
void check_sizes(const Config& config, const std::string& file);

/// Frequencies of the pairs (i, i + head_width / 2), i < head_width / 2, for a session of `capacity` tokens (dynamic NTK depends on
/// it: the base that the released code would use for a text of that length).
std::vector<double> frequencies(const Config& config, std::int64_t capacity);

}  // namespace heed::model
