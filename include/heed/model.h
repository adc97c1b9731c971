// SPDX-License-Identifier: Apache-2.0
// Decoders of the Llama family, read from a Hugging Face directory or a GGUF file, whose attention a mechanism can stand in for.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heed/context.h"
#include "heed/tensor.h"
#include "heed/tokenizer.h"

namespace heed {
inline namespace v0 {

/// The numbers of a model's config, under one set of names.
struct ModelConfig {
  std::string architecture;  ///< "llama", "mistral" or "qwen2"
  std::int64_t layers = 0, width = 0, heads = 0, kv_heads = 0, head_width = 0, inner = 0, vocabulary = 0;
  std::int64_t context = 0;  ///< the most tokens it reads
  std::int64_t window = 0;   ///< keys a query sees, itself among them; 0: all before it
  double norm_epsilon = 0, rope_base = 0;
  std::string rope_scaling = "none";  ///< "none", "linear", "dynamic", "llama3" or "yarn"
};

/// Weights, config and tokenizer. Copies share them; any number of sessions may read one model at a time.
class Model {
 public:
  /// `path`: a directory with config.json, model.safetensors (or model.safetensors.index.json and its parts; f32, bf16, f16)
  /// and tokenizer.json (none: bytes, where the vocabulary is 256), or one GGUF file of architecture llama or qwen2, whose
  /// weights stay quantised. The files must not be shortened while the model is in use. Throws Error naming the file and
  /// the key or tensor that is missing, unknown or of the wrong shape. Weights are packed by `threads` threads (0: all).
  static Model load(const std::string& path, int threads = 0);

  const ModelConfig& config() const;
  const Tokenizer& tokenizer() const;
  /// Whether this token ends a text.
  bool ends(int id) const;
  const std::string& path() const;
  /// Of its config and weights, 16 hexadecimal digits; read on the first call.
  std::string hash() const;
  /// Bytes of the weights as they are held.
  std::int64_t weight_bytes() const;

 private:
  friend class Session;
  struct Parts;
  std::shared_ptr<const Parts> parts_;
};

/// What stands in for the attention of every layer: a mechanism with a mixer, and its parameters as a JSON object.
struct Way {
  std::string slug = "exact";
  std::string params = "{}";
};

/// The slugs that a Way may name, sorted.
std::vector<std::string> list_ways();
/// "SLUG[,name=value]...": each value is JSON, a bare word is text. Commas inside brackets belong to the value.
Way parse_way(std::string_view text);

/// One text being read and continued: the state that the attention of each layer keeps. Not for two threads at once.
/// context.precision: fast (16-bit keys and values, fast products) or strict (f32 throughout); another is an Error.
class Session {
 public:
  /// Room for `capacity` tokens. Throws Error for a capacity below 1 or above the model's context, and for a way that
  /// is unknown, has no mixer or refuses a parameter.
  Session(const Model& model, std::int64_t capacity, const Way& way = {}, const Context& context = {.precision = Precision::fast});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Reads tokens after those read before. Returns the final states of the last `keep` of them, f32 (keep, width);
  /// keep < 0: of all. Throws Error for no tokens, an id outside the vocabulary, more tokens than the capacity has left.
  Tensor read(std::span<const int> ids, std::int64_t keep = 1);
  /// f32 (n, vocabulary) of final states (n, width).
  Tensor logits(const Tensor& states) const;

  std::int64_t position() const;  ///< tokens read
  std::int64_t capacity() const;
  const Model& model() const;
  const Context& context() const;
  /// Bytes of keys and values (and what else the mechanism keeps) held now, all layers; capacity not yet used is not counted.
  std::int64_t kv_bytes() const;
  /// Every parameter of the way as a JSON object, the defaults among them.
  std::string parameters() const;

  /// Called for each layer and chunk that is read, with q (n, heads, width) and k (n, kv_heads, width), f32, as the way gets
  /// them: rotated unless it rotates itself; `first` is the position of the first token. An empty function ends it.
  using Watch = std::function<void(std::int64_t layer, std::int64_t first, const View& q, const View& k)>;
  void watch(Watch watch);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// Natural log-probabilities of ids[1..] given what stands before them, read by `session`, which must be new; chunk by chunk,
/// so that the logits of 256 positions exist at a time.
std::vector<float> score(Session& session, std::span<const int> ids);

/// How the next token is chosen: temperature 0 takes the likeliest; else softmax(logits / temperature) over the top_k
/// likeliest (0: all) and of those the fewest whose probabilities reach top_p.
struct Sampling {
  double temperature = 0;
  std::int64_t top_k = 0;
  double top_p = 1;
  std::uint64_t seed = 0;
};
/// The id of one row of logits, f32 (vocabulary). `index`, the token's position, picks the random number: the same seed, index and
/// logits give the same id. Throws Error for a negative temperature or top_k, and top_p outside (0, 1].
int sample(const View& logits, const Sampling& sampling, std::uint64_t index);

/// Reads `ids` and writes up to `tokens` more, calling each(id) as they come; ends early after the model's end token or where each
/// returns false. Returns the ids written, the end token not included. Throws Error where session's capacity does not hold them.
std::vector<int> generate(Session& session, std::span<const int> ids, std::int64_t tokens, const Sampling& sampling = {},
                          const std::function<bool(int)>& each = {});

}  // namespace v0
}  // namespace heed
