// SPDX-License-Identifier: Apache-2.0
#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "format/json.h"

namespace heed::model {
namespace {

using nlohmann::json;

/// A JSON object whose keys are read with the errors that users see.
class Keys {
 public:
  Keys(const json& object, std::string file) : object_(object), file_(std::move(file)) {}
  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }
  std::int64_t whole(const char* key, std::int64_t least = 1) const {
    const json& value = want(key, "an integer");
    if (!value.is_number_integer() || value.get<std::int64_t>() < least || value.get<std::int64_t>() > (std::int64_t{1} << 40))
      fail(file_ + ": " + key, "an integer of " + std::to_string(least) + " or more", value.dump().substr(0, 60));
    return value.get<std::int64_t>();
  }
  std::int64_t whole_or(const char* key, std::int64_t otherwise) const { return has(key) ? whole(key) : otherwise; }
  double number(const char* key) const {
    const json& value = want(key, "a number");
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0)
      fail(file_ + ": " + key, "a number above 0", value.dump().substr(0, 60));
    return value.get<double>();
  }
  double number_or(const char* key, double otherwise) const { return has(key) ? number(key) : otherwise; }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!object_[key].is_boolean()) fail(file_ + ": " + key, "true or false", object_[key].dump().substr(0, 60));
    return object_[key].get<bool>();
  }
  std::string text(const char* key) const {
    const json& value = want(key, "text");
    if (!value.is_string()) fail(file_ + ": " + key, "text", value.dump().substr(0, 60));
    return value.get<std::string>();
  }
  const json& want(const char* key, const char* what) const {
    if (!has(key)) fail(file_ + ": " + key, what, "no such key");
    return object_[key];
  }
  const std::string& file() const { return file_; }

 private:
  const json& object_;
  std::string file_;
};

void read_scaling(Config& c, const json& config, const Keys& keys) {
  const char* name = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  c.rope.base = keys.number_or("rope_theta", 10000);
  if (!keys.has(name)) return;
  if (!config[name].is_object()) fail(keys.file() + ": " + name, "an object", config[name].dump().substr(0, 60));
  const Keys rope(config[name], keys.file() + ": " + name);
  c.rope.base = rope.number_or("rope_theta", c.rope.base);
  if (rope.has("partial_rotary_factor") && rope.number("partial_rotary_factor") != 1)
    fail(rope.file() + ": partial_rotary_factor", "1", "another");
  const std::string type = rope.has("rope_type") ? rope.text("rope_type") : rope.has("type") ? rope.text("type") : "default";
  if (type == "default") return;
  if (type != "linear" && type != "dynamic" && type != "llama3" && type != "yarn")
    fail(rope.file() + ": rope_type", "default, linear, dynamic, llama3 or yarn", "'" + type + "'");
  c.rope_scaling = type;
  c.rope.original = rope.number_or("original_max_position_embeddings", double(c.context));
  c.rope.factor = type == "yarn" && !rope.has("factor") ? double(c.context) / c.rope.original : rope.number("factor");
  if (type == "dynamic") {
    c.rope.original = double(c.context);
    const double longest = c.rope.original * c.rope.factor;
    if (!(longest >= 1 && longest <= 0x1p40)) fail(rope.file() + ": factor", "a context of 1 to 2^40 tokens", std::to_string(longest));
    c.context = std::int64_t(longest);
  }
  if (type == "llama3") {
    c.rope.low_frequency = rope.number("low_freq_factor");
    c.rope.high_frequency = rope.number("high_freq_factor");
    c.rope.original = rope.number("original_max_position_embeddings");
    if (c.rope.low_frequency == c.rope.high_frequency) fail(rope.file() + ": high_freq_factor", "another than low_freq_factor", "the same");
  }
  if (type == "yarn") {
    const auto gain = [&](double scale) { return c.rope.factor <= 1 ? 1.0 : 0.1 * scale * std::log(c.rope.factor) + 1; };
    c.rope.beta_fast = rope.number_or("beta_fast", 32);
    c.rope.beta_slow = rope.number_or("beta_slow", 1);
    c.rope.truncate = rope.flag("truncate", true);
    c.rope.attention_factor = rope.has("attention_factor") ? rope.number("attention_factor")
                              : rope.has("mscale") && rope.has("mscale_all_dim")
                                  ? gain(rope.number("mscale")) / gain(rope.number("mscale_all_dim"))
                                  : gain(1);
  }
}

void read_windows(Config& c, const json& config, const Keys& keys) {
  c.windowed.assign(std::size_t(c.layers), false);
  if (c.architecture == "llama" || (c.architecture == "qwen2" && !keys.flag("use_sliding_window", false))) return;
  // Configs leave out what equals transformers' defaults.
  c.window = config.contains("sliding_window") ? (keys.has("sliding_window") ? keys.whole("sliding_window") : 0) : 4096;
  if (c.window == 0) return;
  const std::int64_t full = c.architecture == "qwen2" ? keys.whole_or("max_window_layers", 28) : 0;
  for (std::int64_t i = 0; i < c.layers; ++i) c.windowed[std::size_t(i)] = i >= full;
  if (c.architecture != "qwen2" || !keys.has("layer_types")) return;
  const json& types = config["layer_types"];
  if (!types.is_array() || std::int64_t(types.size()) != c.layers)
    fail(keys.file() + ": layer_types", "one a layer", types.dump().substr(0, 60));
  for (std::size_t i = 0; i < types.size(); ++i) {
    if (types[i] != "full_attention" && types[i] != "sliding_attention")
      fail(keys.file() + ": layer_types", "full_attention or sliding_attention", types[i].dump());
    c.windowed[i] = types[i] == "sliding_attention";
  }
}

}  // namespace

void check_sizes(const Config& c, const std::string& file) {
  if (c.heads % c.kv_heads) fail(file, "key heads that divide the " + std::to_string(c.heads) + " query heads", std::to_string(c.kv_heads));
  if (c.head_width % 2) fail(file, "heads of even width", std::to_string(c.head_width));
  if (c.layers > 10000 || c.heads > 100000 || c.head_width > 65536) fail(file, "a model that fits in memory", "larger numbers");
}

Config read_config(const std::string& text, const std::string& file) {
  const json config = parse_json(text);
  if (!config.is_object()) fail(file, "a JSON object", "something else");
  const Keys keys(config, file);
  Config c;
  c.architecture = keys.text("model_type");
  if (c.architecture != "llama" && c.architecture != "mistral" && c.architecture != "qwen2")
    fail(file + ": model_type", "llama, mistral or qwen2", "'" + c.architecture + "'");
  c.layers = keys.whole("num_hidden_layers");
  c.width = keys.whole("hidden_size");
  c.heads = keys.whole("num_attention_heads");
  c.kv_heads = c.architecture == "llama" ? keys.whole_or("num_key_value_heads", c.heads) : keys.whole("num_key_value_heads");
  if (!keys.has("head_dim") && c.width % c.heads)
    fail(file + ": hidden_size", "a multiple of num_attention_heads", std::to_string(c.width));
  c.head_width = keys.whole_or("head_dim", c.width / c.heads);
  c.inner = keys.whole("intermediate_size");
  c.vocabulary = keys.whole("vocab_size");
  c.context = keys.whole("max_position_embeddings");
  c.norm_epsilon = keys.number("rms_norm_eps");
  if (keys.has("hidden_act") && keys.text("hidden_act") != "silu") fail(file + ": hidden_act", "silu", "'" + keys.text("hidden_act") + "'");
  c.tied = keys.flag("tie_word_embeddings", false);
  c.output_bias = c.architecture == "llama" && keys.flag("attention_bias", false);
  c.qkv_bias = c.output_bias || c.architecture == "qwen2";
  c.mlp_bias = c.architecture == "llama" && keys.flag("mlp_bias", false);
  check_sizes(c, file);
  read_scaling(c, config, keys);
  c.rope_base = c.rope.base;
  read_windows(c, config, keys);
  if (keys.has("bos_token_id") && config["bos_token_id"].is_number_integer()) c.bos = config["bos_token_id"].get<int>();
  if (keys.has("eos_token_id"))
    for (const json& end : config["eos_token_id"].is_array() ? config["eos_token_id"] : json::array({config["eos_token_id"]}))
      if (end.is_number_integer()) c.ends.push_back(end.get<int>());
  return c;
}

std::vector<double> frequencies(const Config& c, std::int64_t capacity) {
  const double D = double(c.head_width), pi = std::numbers::pi;
  const Rope& r = c.rope;
  double base = r.base;
  if (c.rope_scaling == "dynamic") {
    if (c.head_width == 2) fail("rope_type", "heads wider than 2 for dynamic scaling", "2");
    base *= std::pow(r.factor * std::max(double(capacity), r.original) / r.original - (r.factor - 1), D / (D - 2));
  }
  const auto turns = [&](double rotations) { return D * std::log(r.original / (rotations * 2 * pi)) / (2 * std::log(base)); };
  double low = 0, high = 0;
  if (c.rope_scaling == "yarn") {
    low = turns(r.beta_fast), high = turns(r.beta_slow);
    if (r.truncate) low = std::floor(low), high = std::ceil(high);
    low = std::max(low, 0.0), high = std::min(high, D - 1);
    if (low == high) high += 0.001;
  }
  std::vector<double> result;
  for (std::int64_t i = 0; i < c.head_width / 2; ++i) {
    double f = std::pow(base, -2.0 * double(i) / D);
    if (c.rope_scaling == "linear") f /= r.factor;
    if (c.rope_scaling == "llama3") {
      const double length = 2 * pi / f, smooth = (r.original / length - r.low_frequency) / (r.high_frequency - r.low_frequency);
      if (length > r.original / r.low_frequency)
        f /= r.factor;
      else if (length >= r.original / r.high_frequency)
        f = (1 - smooth) * f / r.factor + smooth * f;
    }
    if (c.rope_scaling == "yarn") {
      const double keep = 1 - std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
      f = f / r.factor * (1 - keep) + f * keep;
    }
    if (!r.divisors.empty()) f /= double(r.divisors[std::size_t(i)]);
    result.push_back(f);
  }
  return result;
}

}  // namespace heed::model
