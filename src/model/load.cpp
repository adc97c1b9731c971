// SPDX-License-Identifier: Apache-2.0
// From a directory or a file to a Model.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "format/json.h"
#include "format/mapping.h"
#include "heed/safetensors.h"
#include "model/parts.h"
#include "model/vocabulary.h"

namespace heed {
inline namespace v0 {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  const auto mapping = map_file(path.string());
  return {reinterpret_cast<const char*>(mapping->data()), mapping->size()};
}

/// Tensors of model.safetensors, or of the parts that its index names.
std::map<std::string, Tensor> read_parts(const fs::path& directory, std::vector<std::string>& files) {
  const fs::path single = directory / "model.safetensors", index = directory / "model.safetensors.index.json";
  if (fs::exists(single)) {
    files.push_back(single.string());
    return read_safetensors(single.string()).tensors;
  }
  if (!fs::exists(index)) fail(single.string(), "weights", "no such file, nor an index of parts");
  const auto content = parse_json(read_text(index));
  if (!content.is_object() || !content.contains("weight_map") || !content["weight_map"].is_object())
    fail(index.string() + ": weight_map", "an object of file names", "something else");
  std::set<std::string> names;
  for (const auto& [tensor, file] : content["weight_map"].items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      fail(index.string() + ": " + tensor, "the name of a file beside the index", file.dump().substr(0, 60));
    names.insert(file.get<std::string>());
  }
  std::map<std::string, Tensor> tensors;
  for (const auto& name : names) {
    files.push_back((directory / name).string());
    for (auto& [tensor, value] : read_safetensors(files.back()).tensors)
      if (!tensors.emplace(tensor, value).second)
        fail(files.back() + ": " + tensor, "a tensor of one part", "one that another part has too");
  }
  return tensors;
}

}  // namespace

Model Model::load(const std::string& path, int threads) {
  if (threads < 0) fail("threads", "0 or more", std::to_string(threads));
  auto parts = std::make_shared<Parts>();
  parts->path = path;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    const fs::path directory = path, config = directory / "config.json", vocabulary = directory / "tokenizer.json";
    parts->config = model::read_config(read_text(config), config.string());
    parts->files.push_back(config.string());
    const auto tensors = read_parts(directory, parts->files);
    parts->weights = model::read_weights(parts->config, tensors, parts->files.back(), threads);
    if (fs::exists(vocabulary))
      parts->tokenizer.emplace(model::read_vocabulary(read_text(vocabulary), vocabulary.string(), parts->config));
    else if (parts->config.vocabulary == 256)
      parts->tokenizer.emplace(byte_vocabulary());
  } else {
    if (!fs::exists(path, ignored)) fail(path, "a model's directory or GGUF file", "no such file");
    const Gguf gguf = read_gguf(path);
    parts->config = model::read_config(gguf, path);
    parts->weights = model::read_weights(parts->config, gguf, path, threads);
    parts->tokenizer.emplace(model::read_vocabulary(gguf, path, parts->config));
    parts->files.push_back(path);
  }
  Model model;
  model.parts_ = std::move(parts);
  return model;
}

const ModelConfig& Model::config() const { return parts_->config; }
bool Model::ends(int id) const {
  return std::find(parts_->config.ends.begin(), parts_->config.ends.end(), id) != parts_->config.ends.end();
}
const std::string& Model::path() const { return parts_->path; }
std::int64_t Model::weight_bytes() const { return parts_->weights.bytes(); }

const Tokenizer& Model::tokenizer() const {
  if (!parts_->tokenizer) fail(parts_->path + ": tokenizer.json", "a tokenizer", "none");
  return *parts_->tokenizer;
}

std::string Model::hash() const {
  std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a over words of eight bytes
  std::vector<char> piece(1 << 20);
  for (const auto& name : parts_->files) {
    std::ifstream file(name, std::ios::binary);
    if (!file) fail(name, "a file that can be read", "none");
    while (file.read(piece.data(), std::streamsize(piece.size())) || file.gcount() > 0) {
      const auto count = std::size_t(file.gcount());
      std::fill(piece.begin() + std::ptrdiff_t(count), piece.end(), 0);
      for (std::size_t i = 0; i < count; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, piece.data() + i, 8);
        hash = (hash ^ word) * 0x100000001b3u;
      }
    }
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

}  // namespace v0
}  // namespace heed
