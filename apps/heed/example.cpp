// SPDX-License-Identifier: Apache-2.0
#include "example.h"

#include <charconv>
#include <sstream>

namespace heed::app {
namespace {

using nlohmann::json;

template <class T>
T choose(const char* argument, const std::string& name, const std::map<std::string, T>& from) {
  if (const auto found = from.find(name); found != from.end()) return found->second;
  std::string names;
  for (const auto& [key, value] : from) names += (names.empty() ? "" : ", ") + key;
  fail(argument, "one of " + names, "'" + name + "'");
}

std::int64_t number(const std::string& text, const std::string& all) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > (1 << 24))
    fail("--shape", "B,N,H,D or NAME=SIZE,...: sizes of 1 to 2^24", "'" + all + "'");
  return value;
}

std::map<std::string, std::int64_t> parse_shape(const std::string& text) {
  std::map<std::string, std::int64_t> sizes;
  if (text.empty()) return sizes;
  std::vector<std::string> parts;
  std::istringstream in(text + ",");
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  if (text.find('=') == std::string::npos) {
    if (parts.size() != 4) fail("--shape", "B,N,H,D or NAME=SIZE,...", "'" + text + "'");
    const char* const names[] = {"B", "N", "heads", "D"};
    for (std::size_t i = 0; i < 4; ++i) sizes[names[i]] = number(parts[i], text);
    return sizes;
  }
  for (const auto& part : parts) {
    const auto at = part.find('=');
    if (at == std::string::npos || at == 0) fail("--shape", "B,N,H,D or NAME=SIZE,...", "'" + text + "'");
    if (!sizes.emplace(part.substr(0, at), number(part.substr(at + 1), text)).second) fail("--shape", "each name once", "'" + text + "'");
  }
  return sizes;
}

}  // namespace

const char* const shapes_text =
    "Sizes: --shape B,N,H,D, or names: --shape B=2,C=64,H=56,W=56. A name is a symbol of the declaration (heed info SLUG) or one of\n"
    "  B  batches, 1\n"
    "  N  tokens, keys, nodes, 1024; of maps a square of about N places\n"
    "  H  heads, 8 or what the mechanism's parameter says; of maps the height, 56 (then `heads` names the heads)\n"
    "  W  width of maps, 56; where tokens are no map, H=.. and W=.. mean N = H*W\n"
    "  D  width of a head, 64\n"
    "  C  channels, H*D; of maps 256\n"
    "Heads and widths set the parameters that hold them unless -p does. Mechanisms that need other sizes (a graph's edges, a\n"
    "multiple of a window) say which under \"sizes\" in heed info SLUG. Values are random, integers within the declared ranges;\n"
    "weights are seeded. Optional inputs are left out unless --with NAME asks for them.";

void ExampleOptions::add_to(CLI::App& command) {
  command.add_option("--shape", shape, "B,N,H,D or NAME=SIZE,... (below); the mechanism's own sizes unless given");
  command.add_option("--dtype", dtype, "of floats: f32, bf16 or f16")->capture_default_str();
  command.add_option("--with", with, "optional inputs to draw too, comma-separated")->allow_extra_args(false)->delimiter(',');
  command.add_option("--seed", seed, "of the random tensors")->check(seed_range())->capture_default_str();
  command.add_option("--threads", threads, "0: as many as OpenMP would use")->check(thread_range());
  command.add_option("--precision", precision, "of products; strict for f32, fast for 16 bits unless given")
      ->check(one_of({"strict", "split", "fast", "int8"}));
  command.add_option("-p", pairs, "name=value, a parameter (heed info SLUG)")->allow_extra_args(false);
  command.footer(shapes_text);
}

DType ExampleOptions::type() const {
  return choose<DType>("--dtype", dtype, {{"f32", DType::f32}, {"bf16", DType::bf16}, {"f16", DType::f16}});
}

Context ExampleOptions::context() const {
  Context context;
  context.threads = threads;
  context.seed = seed;
  if (!precision.empty())
    context.precision = precision_of(precision);
  else if (type() != DType::f32)
    context.precision = Precision::fast;
  return context;
}

Example ExampleOptions::make(const std::string& slug, const json& params) const {
  json all = parse_pairs(pairs);
  all.update(params);
  return example(slug, parse_shape(shape), all.dump(), with, type(), seed);
}

}  // namespace heed::app
