// SPDX-License-Identifier: Apache-2.0
// Tokenizers as models' files describe them.
#pragma once
#include <string>

#include "heed/gguf.h"
#include "heed/tokenizer.h"
#include "model/config.h"

namespace heed::model {

/// Hugging Face's tokenizer.json: a byte-level BPE with one of the pre-tokenisers of heed/tokenizer.h; `text` is its content, `file` its
/// name for errors. Throws Error for another kind.
Vocabulary read_vocabulary(const std::string& text, const std::string& file, const Config& config);
/// tokenizer.ggml.* of model gpt2.
Vocabulary read_vocabulary(const Gguf& gguf, const std::string& file, const Config& config);

}  // namespace heed::model
