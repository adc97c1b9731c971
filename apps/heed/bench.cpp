// SPDX-License-Identifier: Apache-2.0
// heed bench: how fast mechanisms are on random tensors of one shape.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>

#include "command.h"
#include "heed/attend.h"
#include "heed/catalogue.h"

namespace heed::app {
namespace {

using nlohmann::json;

struct Request {
  std::vector<std::string> slugs, pairs;
  std::string shape = "1,1024,8,64", dtype = "f32", precision, file;
  bool causal = false;
  int threads = 0;
};

template <class T>
T choose(const char* argument, const std::string& name, const std::map<std::string, T>& from) {
  if (const auto found = from.find(name); found != from.end()) return found->second;
  std::string names;
  for (const auto& [key, value] : from) names += (names.empty() ? "" : ", ") + key;
  fail(argument, "one of " + names, "'" + name + "'");
}

std::array<std::int64_t, 4> parse_shape(const std::string& text) {
  std::array<std::int64_t, 4> shape{};
  std::istringstream in(text);
  char comma = ',';
  for (std::size_t i = 0; i < 4; ++i)
    if ((i > 0 && (!(in >> comma) || comma != ',')) || !(in >> shape[i]) || shape[i] < 1 || shape[i] > (1 << 24))
      fail("--shape", "B,N,H,D, each above 0", "'" + text + "'");
  if (in >> comma) fail("--shape", "B,N,H,D", "'" + text + "'");
  return shape;
}

/// What the symbols of a declaration stand for at B, N, H, D.
std::map<std::string, std::int64_t> symbols(const std::array<std::int64_t, 4>& s) {
  const auto [B, N, H, D] = s;
  std::map<std::string, std::int64_t> at{{"B", B}};
  for (const char* name : {"N", "M", "T", "L", "S", "Nq", "Nk"}) at[name] = N;
  for (const char* name : {"H", "G", "Hk", "Hq", "KV", "heads", "n_heads", "num_heads", "num_kv_heads", "kv_heads"}) at[name] = H;
  for (const char* name : {"D", "E", "head_dim"}) at[name] = D;
  for (const char* name : {"C", "dim", "d_model", "embed_dim", "hidden_size"}) at[name] = H * D;
  return at;
}

Tensor random(const Shape& shape, DType dtype, std::uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(std::size_t(shape.count()));
  for (float& x : values) x = normal(engine);
  return Tensor::of(values, shape).to(dtype);
}

/// A product of symbols and integers: "2*H".
std::optional<std::int64_t> extent(const std::string& text, const std::map<std::string, std::int64_t>& at) {
  std::int64_t product = 1;
  std::istringstream factors(text);
  for (std::string factor; std::getline(factors, factor, '*');) {
    if (const auto found = at.find(factor); found != at.end())
      product *= found->second;
    else if (!factor.empty() && factor.size() < 10 && factor.find_first_not_of("0123456789") == std::string::npos)
      product *= std::stoll(factor);
    else
      return std::nullopt;
  }
  return product;
}

/// The inputs that a mechanism always takes, from its declaration. The parameters' own values count as symbols.
Tensors inputs_of(const std::string& slug, const json& info, const json& params, const std::array<std::int64_t, 4>& shape, DType dtype) {
  auto at = symbols(shape);
  for (const auto& p : info["params"]) {
    const std::string name = p["name"];
    const json& value = params.contains(name) ? params[name] : p["default"];
    if (value.is_number_integer()) at[name] = value.get<std::int64_t>();
  }
  Tensors inputs;
  for (const auto& input : info["inputs"]) {
    if (!input["required"].get<bool>() || input["repeated"].get<bool>() || input["when"] != "") continue;
    const std::string name = input["name"], text = input["shape"];
    std::vector<std::int64_t> extents;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      const auto found = extent(word, at);
      if (!found) fail(slug, "inputs whose extents follow from B, N, H, D and -p", name + ": " + text);
      extents.push_back(*found);
    }
    if (input["dtype"] != "f32") fail(slug, "inputs of floats", name + ": " + input["dtype"].get<std::string>());
    inputs[name] = random(Shape(extents), dtype, inputs.size() + 1);
  }
  return inputs;
}

/// The median of at least five runs and half a second, after one to warm up.
template <class Work>
double median_seconds(const Work& work) {
  work();
  std::vector<double> seconds;
  for (double total = 0; seconds.size() < 5 || (total < 0.5 && seconds.size() < 1000);) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    total += seconds.back();
  }
  std::nth_element(seconds.begin(), seconds.begin() + std::ptrdiff_t(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

std::string last_plan;

/// `exact` on q, k, v in their own dtype; the other entries through the catalogue, which widens them.
json measure(const std::string& slug, const Request& r, const Context& context, const std::array<std::int64_t, 4>& shape, DType dtype) {
  const auto [B, N, H, D] = shape;
  double seconds = 0;
  last_plan.clear();
  if (slug == "exact" && r.pairs.empty()) {
    const Tensor q = random({B, N, H, D}, dtype, 1), k = random({B, N, H, D}, dtype, 2), v = random({B, N, H, D}, dtype, 3);
    const Tensor out(dtype, {B, N, H, D});
    AttendOptions options;
    options.causal = r.causal;
    last_plan = why(q, k, v, options, {}, context);
    seconds = median_seconds([&] { attend(q, k, v, out, options, {}, context); });
  } else {
    json params = parse_pairs(r.pairs);
    const json info = json::parse(describe_mechanism(slug, params.dump()));
    const auto& declared = info["params"];
    const bool has_causal = std::any_of(declared.begin(), declared.end(), [](const json& p) { return p["name"] == "causal"; });
    if (has_causal && !params.contains("causal")) params["causal"] = r.causal;
    if (!has_causal && r.causal) fail("--causal", "a mechanism with that parameter", slug);
    const Tensors inputs = inputs_of(slug, info, params, shape, dtype);
    set_plan_log([](const std::string& plan) { last_plan = plan; });
    run(slug, inputs, {}, params.dump(), {}, context);
    set_plan_log(nullptr);
    seconds = median_seconds([&] { run(slug, inputs, {}, params.dump(), {}, context); });
    if (last_plan.empty()) last_plan = "ops; the tiles engine took no part";
  }
  const double work = 4.0 * double(B) * double(H) * double(N) * double(N) * double(D) * (r.causal ? 0.5 : 1);
  return {{"slug", slug},       {"shape", {B, N, H, D}},           {"dtype", r.dtype}, {"causal", r.causal}, {"isa", name_of(context.isa)},
          {"seconds", seconds}, {"gflops", work / seconds * 1e-9}, {"why", last_plan}};
}

int bench(const Request& r) {
  const auto shape = parse_shape(r.shape);
  const DType dtype = choose<DType>("--dtype", r.dtype, {{"f32", DType::f32}, {"bf16", DType::bf16}, {"f16", DType::f16}});
  Context context;
  context.threads = r.threads;
  if (!r.precision.empty())
    context.precision = choose<Precision>(
        "--precision", r.precision,
        {{"strict", Precision::strict}, {"split", Precision::split}, {"fast", Precision::fast}, {"int8", Precision::int8}});
  json rows = json::array();
  for (const auto& slug : r.slugs.empty() ? std::vector<std::string>{"exact"} : r.slugs) {
    rows.push_back(measure(slug, r, context, shape, dtype));
    const json& row = rows.back();
    if (r.file != "-")
      fmt::print("{:24} {} {}{} {:10.3f} ms {:8.1f} GFLOP/s  {}\n", slug, r.shape, r.dtype, r.causal ? " causal" : "",
                 row["seconds"].get<double>() * 1e3, row["gflops"].get<double>(), row["why"].get<std::string>());
  }
  if (r.file == "-") {
    fmt::print("{}\n", rows.dump(2));
  } else if (!r.file.empty()) {
    std::ofstream file(r.file);
    file << rows.dump(2) << '\n';
    if (!file.flush()) fail("--json", "a file that can be written", r.file);
  }
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  const auto r = std::make_shared<Request>();
  auto* command = app.add_subcommand("bench", "time mechanisms on random tensors");
  command->add_option("slugs", r->slugs, "mechanisms; exact where none is given");
  command->add_option("--shape", r->shape, "B,N,H,D")->capture_default_str();
  command->add_option("--dtype", r->dtype, "f32, bf16 or f16")->capture_default_str();
  command->add_flag("--causal", r->causal, "half the square counts");
  command->add_option("--threads", r->threads)->check(CLI::NonNegativeNumber);
  command->add_option("--precision", r->precision, "strict, split, fast or int8");
  command->add_option("-p", r->pairs, "name=value");
  command->add_option("--json", r->file, "write an array of results there; -: to the output alone");
  command->callback([r, &action] { action = [r] { return bench(*r); }; });
}

}  // namespace heed::app
