// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <cstring>

namespace heed::model {
namespace {

[[noreturn]] void missing(const std::string& file, const std::string& name) { fail(file + ": " + name, "a tensor", "none of this name"); }

void want(const std::string& file, const std::string& name, const Shape& shape, const Shape& came) {
  if (!(shape == came)) fail(file + ": " + name, "shape " + shape.text(), came.text());
}

/// Tensors of a state dict.
struct StateDict {
  const std::map<std::string, Tensor>& tensors;
  std::string file;
  int threads;

  static std::string layer(std::int64_t i, const char* part) {
    static const std::map<std::string, std::string> parts = {{"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
                                                             {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
                                                             {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
                                                             {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
                                                             {"ffn_down", "mlp.down_proj"}};
    return "model.layers." + std::to_string(i) + "." + parts.at(part);
  }
  static constexpr const char *embedding = "model.embed_tokens", *norm = "model.norm", *head = "lm_head";

  const Tensor& find(const std::string& name, const Shape& shape) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) missing(file, name);
    want(file, name, shape, found->second.shape());
    const DType dtype = found->second.dtype();
    if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16) fail(file + ": " + name, "f32, bf16 or f16", name_of(dtype));
    return found->second;
  }
  engine::Matrix matrix(const std::string& name, std::int64_t out, std::int64_t in, std::int64_t) const {
    return engine::Matrix(find(name + ".weight", {out, in}), threads);
  }
  Tensor vector(const std::string& name, std::int64_t n, std::int64_t) const { return find(name, {n}).to(DType::f32); }
};

/// Tensors of a GGUF file of architecture llama have the rows of q and k in the order of interleaved rotation: pair i of a head in
/// rows 2i, 2i + 1. Here they go back to i, i + D/2; rows are whole blocks, so quantised ones move as they are.
struct GgufTensors {
  const Gguf& gguf;
  std::string file;
  int threads;

  static std::string layer(std::int64_t i, const char* part) { return "blk." + std::to_string(i) + "." + part; }
  static constexpr const char *embedding = "token_embd", *norm = "output_norm", *head = "output";

  const GgufTensor& find(const std::string& name, const Shape& shape) const {
    const auto found = gguf.tensors.find(name);
    if (found == gguf.tensors.end()) missing(file, name);
    want(file, name, shape, found->second.shape);
    return found->second;
  }
  static std::shared_ptr<std::vector<std::byte>> halves(const std::byte* rows, std::size_t row, std::int64_t n, std::int64_t heads) {
    auto moved = std::make_shared<std::vector<std::byte>>(row * std::size_t(n));
    const std::int64_t D = n / heads;
    for (std::int64_t h = 0; h < heads; ++h)
      for (std::int64_t i = 0; i < D; ++i)
        std::memcpy(moved->data() + std::size_t(h * D + i % 2 * (D / 2) + i / 2) * row, rows + std::size_t(h * D + i) * row, row);
    return moved;
  }
  /// heads > 0: rows to move within each head.
  engine::Matrix matrix(const std::string& name, std::int64_t out, std::int64_t in, std::int64_t heads) const {
    GgufTensor tensor = find(name + ".weight", {out, in});
    if (heads == 0) return engine::Matrix(tensor, gguf.owner, threads);
    const auto moved = halves(tensor.data, tensor.bytes / std::size_t(out), out, heads);
    tensor.data = moved->data();
    return engine::Matrix(tensor, moved, threads);
  }
  Tensor vector(const std::string& name, std::int64_t n, std::int64_t heads) const {
    const Tensor x = dequantise(find(name, {n}));
    if (heads == 0) return x;
    const auto moved = halves(x.data<std::byte>(), sizeof(float), n, heads);
    return {dense_view(moved->data(), DType::f32, {n}), moved};
  }
};

template <class Source>
Weights read(const Config& c, const Source& source, bool interleaved) {
  const std::int64_t q = c.heads * c.head_width, kv = c.kv_heads * c.head_width;
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in, bool bias, std::int64_t heads = 0) {
    return Linear{source.matrix(name, out, in, heads), bias ? source.vector(name + ".bias", out, heads) : Tensor()};
  };
  Weights w;
  w.embedding = source.matrix(Source::embedding, c.vocabulary, c.width, 0);
  if (!c.tied) w.head = source.matrix(Source::head, c.vocabulary, c.width, 0);
  w.norm = source.vector(Source::norm + std::string(".weight"), c.width, 0);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const auto name = [&](const char* part) { return Source::layer(i, part); };
    LayerWeights l;
    l.attention_norm = source.vector(name("attn_norm") + ".weight", c.width, 0);
    l.mlp_norm = source.vector(name("ffn_norm") + ".weight", c.width, 0);
    l.q = linear(name("attn_q"), q, c.width, c.qkv_bias, interleaved ? c.heads : 0);
    l.k = linear(name("attn_k"), kv, c.width, c.qkv_bias, interleaved ? c.kv_heads : 0);
    l.v = linear(name("attn_v"), kv, c.width, c.qkv_bias);
    l.o = linear(name("attn_output"), c.width, q, c.output_bias);
    l.gate = linear(name("ffn_gate"), c.inner, c.width, c.mlp_bias);
    l.up = linear(name("ffn_up"), c.inner, c.width, c.mlp_bias);
    l.down = linear(name("ffn_down"), c.width, c.inner, c.mlp_bias);
    w.layers.push_back(std::move(l));
  }
  return w;
}

}  // namespace

Weights read_weights(const Config& config, const std::map<std::string, Tensor>& tensors, const std::string& file, int threads) {
  return read(config, StateDict{tensors, file, threads}, false);
}

Weights read_weights(const Config& config, const Gguf& gguf, const std::string& file, int threads) {
  return read(config, GgufTensors{gguf, file, threads}, config.architecture == "llama");
}

std::int64_t Weights::bytes() const {
  const auto vector = [](const Tensor& x) { return x.defined() ? x.count() * std::int64_t(size_of(x.dtype())) : 0; };
  std::int64_t sum = std::int64_t(embedding.bytes()) + (head.defined() ? std::int64_t(head.bytes()) : 0) + vector(norm);
  for (const auto& l : layers) {
    sum += vector(l.attention_norm) + vector(l.mlp_norm);
    for (const Linear* m : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) sum += std::int64_t(m->matrix.bytes()) + vector(m->bias);
  }
  return sum;
}

}  // namespace heed::model
