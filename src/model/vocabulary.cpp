// SPDX-License-Identifier: Apache-2.0
#include "model/vocabulary.h"

#include <algorithm>

#include "format/json.h"

namespace heed::model {
namespace {

using nlohmann::json;

/// The text of a key, "" where there is none.
std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// The pre-tokeniser that a tokenizer.json describes, by what tells the known ones apart.
std::string pre_tokeniser(const json& file, const std::string& name) {
  const json steps = file.contains("pre_tokenizer") ? file["pre_tokenizer"] : json();
  bool digits = false, bytes = false;
  std::string pattern;
  const auto look = [&](const json& step) {
    const std::string type = text_of(step, "type");
    if (type == "Digits" && step.contains("individual_digits") && step["individual_digits"] == true)
      digits = true;
    else if (type == "ByteLevel")
      bytes = true;
    else if (type == "Split" && step.contains("pattern") && step["pattern"].is_object())
      pattern = step["pattern"].contains("Regex") ? text_of(step["pattern"], "Regex") : "?";
    else
      pattern = "?";
  };
  if (steps.is_object() && text_of(steps, "type") == "Sequence" && steps.contains("pretokenizers") && steps["pretokenizers"].is_array())
    for (const json& step : steps["pretokenizers"]) look(step.is_object() ? step : json::object());
  else if (steps.is_object())
    look(steps);
  if (bytes && pattern.empty()) return digits ? "smollm" : "gpt2";
  if (bytes && !digits && pattern.find("\\p{N}{1,3}") != std::string::npos) return "llama3";
  if (bytes && !digits && pattern.find("\\p{N}|") != std::string::npos && pattern.find("(?i:") != std::string::npos) return "qwen2";
  fail(name + ": pre_tokenizer", "the one of GPT-2, SmolLM, Llama 3 or Qwen2", steps.dump().substr(0, 80));
}

void check_ids(const Vocabulary& v, const Config& c, const std::string& file) {
  if (std::int64_t(v.tokens.size()) > c.vocabulary)
    fail(file, "at most the model's " + std::to_string(c.vocabulary) + " tokens", std::to_string(v.tokens.size()));
}

}  // namespace

Vocabulary read_vocabulary(const std::string& text, const std::string& file, const Config& config) {
  const json content = parse_json(text);
  const json model = content.is_object() && content.contains("model") ? content["model"] : json();
  if (!model.is_object() || (model.contains("type") && model["type"] != "BPE"))
    fail(file + ": model", "a BPE", model.is_object() ? model["type"].dump().substr(0, 60) : "none");
  if (!model.contains("vocab") || !model["vocab"].is_object()) fail(file + ": model.vocab", "an object", "none");
  if (!model.contains("merges") || !model["merges"].is_array()) fail(file + ": model.merges", "a list", "none");
  Vocabulary v;
  v.pre_tokeniser = pre_tokeniser(content, file);
  const auto put = [&](const std::string& token, const json& id) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= config.vocabulary)
      fail(file + ": '" + token + "'", "an id below " + std::to_string(config.vocabulary), id.dump());
    const auto at = id.get<std::size_t>();
    if (v.tokens.size() <= at) v.tokens.resize(at + 1), v.special.resize(at + 1);
    v.tokens[at] = token;
    return at;
  };
  for (const auto& [token, id] : model["vocab"].items()) put(token, id);
  for (const json& merge : model["merges"]) {
    if (merge.is_string())
      v.merges.push_back(merge.get<std::string>());
    else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      v.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    else
      fail(file + ": model.merges", "pairs of text", merge.dump().substr(0, 60));
  }
  if (content.contains("added_tokens") && content["added_tokens"].is_array())
    for (const json& added : content["added_tokens"]) {
      if (!added.is_object() || !added.contains("id") || !added.contains("content") || !added["content"].is_string())
        fail(file + ": added_tokens", "objects with id and content", added.dump().substr(0, 60));
      v.special[put(added["content"].get<std::string>(), added["id"])] = true;
    }
  v.bos = config.bos;
  v.eos = config.ends.empty() ? -1 : config.ends.front();
  check_ids(v, config, file);
  return v;
}

Vocabulary read_vocabulary(const Gguf& gguf, const std::string& file, const Config& config) {
  const auto find = [&](const std::string& key) -> const GgufValue* {
    const auto found = gguf.metadata.find(key);
    return found == gguf.metadata.end() ? nullptr : &found->second;
  };
  const auto want = [&]<class T>(const std::string& key, const char* what, T*) -> const T& {
    const auto* value = find(key);
    if (!value || !std::holds_alternative<T>(*value)) fail(file + ": " + key, what, value ? "another type" : "no such key");
    return std::get<T>(*value);
  };
  const auto model = want("tokenizer.ggml.model", "text", static_cast<std::string*>(nullptr));
  if (model != "gpt2") fail(file + ": tokenizer.ggml.model", "gpt2, a byte-level BPE", "'" + model + "'");
  Vocabulary v;
  v.tokens = want("tokenizer.ggml.tokens", "a list of text", static_cast<std::vector<std::string>*>(nullptr));
  v.merges = want("tokenizer.ggml.merges", "a list of text", static_cast<std::vector<std::string>*>(nullptr));
  if (find("tokenizer.ggml.pre")) v.pre_tokeniser = want("tokenizer.ggml.pre", "text", static_cast<std::string*>(nullptr));
  if (const auto* types = find("tokenizer.ggml.token_type")) {
    const auto mark = [&](const auto& kinds) {
      for (std::size_t i = 0; i < std::min(kinds.size(), v.tokens.size()); ++i)
        v.special.push_back(kinds[i] == 3 || kinds[i] == 4);  // control, user defined
    };
    if (const auto* kinds = std::get_if<std::vector<std::int64_t>>(types))
      mark(*kinds);
    else if (const auto* unsigned_kinds = std::get_if<std::vector<std::uint64_t>>(types))
      mark(*unsigned_kinds);
    else
      fail(file + ": tokenizer.ggml.token_type", "a list of integers", "another type");
    v.special.resize(v.tokens.size());
  }
  v.bos = config.bos;
  v.eos = config.ends.empty() ? -1 : config.ends.front();
  check_ids(v, config, file);
  return v;
}

}  // namespace heed::model
