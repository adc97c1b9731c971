// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE: text to token ids and back.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heed {
inline namespace v0 {

/// What a model's file says of its tokenizer.
struct Vocabulary {
  std::vector<std::string> tokens;     ///< by id, in GPT-2's byte-to-unicode spelling
  std::vector<std::string> merges;     ///< "a b", the first to be merged first
  std::vector<bool> special;           ///< by id: a control token such as <|im_start|>; may be empty
  std::string pre_tokeniser = "gpt2";  ///< "gpt2", "smollm", "llama-bpe", "llama3" or "qwen2"
  int bos = -1, eos = -1;              ///< -1: none
};

/// 256 tokens, one a byte, id = byte; no merges. For tests and models of bytes.
Vocabulary byte_vocabulary();

/// The words that `pre_tokeniser` splits `utf8` into; together they are the whole text.
/// Bytes that are not UTF-8 count as one symbol each.
std::vector<std::string_view> pre_tokenise(std::string_view utf8, std::string_view pre_tokeniser);

/// Immutable: copies share one table, and any number of threads may use one.
class Tokenizer {
 public:
  explicit Tokenizer(Vocabulary vocabulary);

  /// Ids of the text; nothing (no bos) is added. With `special`, the special tokens' own
  /// spelling in the text becomes their id, the longest first; without it, it is plain text.
  /// A byte that the vocabulary has no token for is left out, as in Hugging Face's tokenizers
  /// (SmolLM2's lacks 21, such as 0x04 and 0xFF): `covers` tells.
  std::vector<int> encode(std::string_view utf8, bool special = false) const;

  /// The ids' bytes. One id's bytes may be a part of a UTF-8 character.
  std::string decode(std::span<const int> ids) const;

  /// Whether every byte of the text has a token, so that decode(encode(text)) is the text.
  bool covers(std::string_view text) const;

  const Vocabulary& vocabulary() const;
  int size() const;

 private:
  struct Tables;
  std::shared_ptr<const Tables> tables_;
};

}  // namespace v0
}  // namespace heed
