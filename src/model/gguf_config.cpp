// SPDX-License-Identifier: Apache-2.0
// Config from GGUF's metadata; keys as in ggml's docs/gguf.md.
#include <cmath>

#include "model/config.h"

namespace heed::model {
namespace {

class Metadata {
 public:
  Metadata(const Gguf& gguf, std::string file) : gguf_(gguf), file_(std::move(file)) {}
  const GgufValue* find(const std::string& key) const {
    const auto found = gguf_.metadata.find(key);
    return found == gguf_.metadata.end() ? nullptr : &found->second;
  }
  const GgufValue& want(const std::string& key, const char* what) const {
    const auto* value = find(key);
    if (!value) fail(file_ + ": " + key, what, "no such key");
    return *value;
  }
  std::int64_t whole(const std::string& key, std::int64_t least = 1) const {
    const GgufValue& value = want(key, "an integer");
    std::int64_t n = -1;
    if (const auto* i = std::get_if<std::int64_t>(&value))
      n = *i;
    else if (const auto* u = std::get_if<std::uint64_t>(&value))
      n = *u > (std::uint64_t{1} << 40) ? -1 : std::int64_t(*u);
    else
      fail(file_ + ": " + key, "an integer", "another type");
    if (n < least || n > (std::int64_t{1} << 40))
      fail(file_ + ": " + key, "an integer of " + std::to_string(least) + " or more", "another");
    return n;
  }
  std::int64_t whole_or(const std::string& key, std::int64_t otherwise, std::int64_t least = 1) const {
    return find(key) ? whole(key, least) : otherwise;
  }
  double number(const std::string& key) const {
    const GgufValue& value = want(key, "a number");
    const auto* x = std::get_if<double>(&value);
    if (!x || !std::isfinite(*x) || *x <= 0) fail(file_ + ": " + key, "a number above 0", x ? std::to_string(*x) : "another type");
    return *x;
  }
  double number_or(const std::string& key, double otherwise) const { return find(key) ? number(key) : otherwise; }
  std::string text(const std::string& key) const {
    const auto* x = std::get_if<std::string>(&want(key, "text"));
    if (!x) fail(file_ + ": " + key, "text", "another type");
    return *x;
  }
  bool has_tensor(const std::string& name) const { return gguf_.tensors.count(name) != 0; }
  const std::string& file() const { return file_; }

 private:
  const Gguf& gguf_;
  std::string file_;
};

void read_scaling(Config& c, const Metadata& m, const std::string& prefix, const Gguf& gguf) {
  c.rope.base = m.number_or(prefix + "rope.freq_base", 10000);
  const std::string type = m.find(prefix + "rope.scaling.type") ? m.text(prefix + "rope.scaling.type") : "none";
  if (type != "none" && type != "linear" && type != "yarn")
    fail(m.file() + ": " + prefix + "rope.scaling.type", "none, linear or yarn", "'" + type + "'");
  c.rope_scaling = type;
  c.rope.factor = m.number_or(prefix + "rope.scaling.factor", 1);
  c.rope.original = double(m.whole_or(prefix + "rope.scaling.original_context_length", c.context));
  if (type == "yarn") {
    c.rope.attention_factor =
        m.number_or(prefix + "rope.scaling.attn_factor", 1) * (c.rope.factor <= 1 ? 1 : 0.1 * std::log(c.rope.factor) + 1);
    c.rope.beta_fast = m.number_or(prefix + "rope.scaling.yarn_beta_fast", 32);
    c.rope.beta_slow = m.number_or(prefix + "rope.scaling.yarn_beta_slow", 1);
  }
  const auto factors = gguf.tensors.find("rope_freqs.weight");  // Llama 3's scaling as a table
  if (factors == gguf.tensors.end()) return;
  const Shape shape{c.head_width / 2};
  if (!(factors->second.shape == shape)) fail(m.file() + ": rope_freqs.weight", "shape " + shape.text(), factors->second.shape.text());
  const Tensor values = dequantise(factors->second);
  for (std::int64_t i = 0; i < shape[0]; ++i) {
    if (!(values.data<float>()[i] > 0)) fail(m.file() + ": rope_freqs.weight", "numbers above 0", std::to_string(values.data<float>()[i]));
    c.rope.divisors.push_back(values.data<float>()[i]);
  }
}

}  // namespace

Config read_config(const Gguf& gguf, const std::string& file) {
  const Metadata m(gguf, file);
  Config c;
  c.architecture = m.text("general.architecture");
  if (c.architecture != "llama" && c.architecture != "qwen2")
    fail(file + ": general.architecture", "llama or qwen2", "'" + c.architecture + "'");
  const std::string p = c.architecture + ".";
  c.layers = m.whole(p + "block_count");
  c.width = m.whole(p + "embedding_length");
  c.heads = m.whole(p + "attention.head_count");
  c.kv_heads = m.whole_or(p + "attention.head_count_kv", c.heads);
  if (!m.find(p + "attention.key_length") && c.width % c.heads)
    fail(file + ": " + p + "embedding_length", "a multiple of the heads", std::to_string(c.width));
  c.head_width = m.whole_or(p + "attention.key_length", c.width / c.heads);
  if (m.whole_or(p + "attention.value_length", c.head_width) != c.head_width)
    fail(file + ": " + p + "attention.value_length", "the width of keys", "another");
  if (m.whole_or(p + "rope.dimension_count", c.head_width) != c.head_width)
    fail(file + ": " + p + "rope.dimension_count", "the width of heads", "another");
  if (m.whole_or(p + "expert_count", 0, 0) > 0) fail(file + ": " + p + "expert_count", "a model without experts", "one with");
  c.inner = m.whole(p + "feed_forward_length");
  c.context = m.whole(p + "context_length");
  c.norm_epsilon = m.number(p + "attention.layer_norm_rms_epsilon");
  const auto embedding = gguf.tensors.find("token_embd.weight");
  if (embedding == gguf.tensors.end() || embedding->second.shape.rank() != 2) fail(file + ": token_embd.weight", "a matrix", "none");
  c.vocabulary = embedding->second.shape[0];
  c.window = m.whole_or(p + "attention.sliding_window", 0, 0);
  check_sizes(c, file);
  c.windowed.assign(std::size_t(c.layers), c.window > 0);
  c.tied = !m.has_tensor("output.weight");
  c.qkv_bias = m.has_tensor("blk.0.attn_q.bias");
  c.output_bias = m.has_tensor("blk.0.attn_output.bias");
  c.mlp_bias = m.has_tensor("blk.0.ffn_gate.bias");
  read_scaling(c, m, p, gguf);
  c.rope_base = c.rope.base;
  if (m.find("tokenizer.ggml.bos_token_id")) c.bos = int(m.whole("tokenizer.ggml.bos_token_id", 0));
  if (m.find("tokenizer.ggml.eos_token_id")) c.ends.push_back(int(m.whole("tokenizer.ggml.eos_token_id", 0)));
  if (m.find("tokenizer.ggml.eot_token_id")) c.ends.push_back(int(m.whole("tokenizer.ggml.eot_token_id", 0)));
  return c;
}

}  // namespace heed::model
