// SPDX-License-Identifier: Apache-2.0
// heed bench: how fast mechanisms are on random tensors, beside the same module in eager torch where asked.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "example.h"
#include "heed/attend.h"
#include "peer.h"

namespace heed::app {
namespace {

using nlohmann::json;

struct Request : ExampleOptions {
  std::vector<std::string> slugs;
  std::string family, file, python;
  bool causal = false, torch = false;
  double budget = 0.5;
};

double median(std::vector<double> seconds) {
  std::nth_element(seconds.begin(), seconds.begin() + std::ptrdiff_t(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

/// At least five runs and, of each side, `budget` seconds, after one to warm up; the two sides take turns.
template <class Work>
std::pair<double, std::optional<double>> median_seconds(const Work& work, double budget, Peer* peer) {
  work();
  if (peer) peer->run(1);
  std::vector<double> mine, theirs;
  const auto enough = [budget](const std::vector<double>& seconds) {
    double total = 0;
    for (const double s : seconds) total += s;
    return seconds.size() >= 5 && (total >= budget || seconds.size() >= 1000);
  };
  while (!enough(mine) || (peer && !enough(theirs))) {
    for (int i = 0; i < 5 && !enough(mine); ++i) {
      const auto start = std::chrono::steady_clock::now();
      work();
      mine.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    if (!peer || enough(theirs)) continue;
    // The threads of both spin for a while after their work: let them go to sleep before the other side is timed.
    const auto rest = [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
    rest();
    const PeerAnswer answer = peer->run(5);
    rest();
    if (answer.seconds.empty()) return {median(mine), std::nullopt};
    theirs.insert(theirs.end(), answer.seconds.begin(), answer.seconds.end());
  }
  return {median(mine), peer ? std::optional(median(theirs)) : std::nullopt};
}

std::string last_plan;

/// Floating-point operations of exact attention over the same q, k, v; nothing where an entry does not take these.
std::optional<double> attention_work(const Tensors& inputs, bool causal) {
  const auto q = inputs.find("q"), k = inputs.find("k"), v = inputs.find("v");
  if (q == inputs.end() || k == inputs.end() || v == inputs.end()) return std::nullopt;
  const Shape &a = q->second.shape(), &b = k->second.shape(), &c = v->second.shape();
  if (a.rank() != 4 || b.rank() != 4 || c.rank() != 4) return std::nullopt;
  return 2.0 * double(a[0]) * double(a[1]) * double(a[2]) * double(b[1]) * double(b[3] + c[3]) * (causal ? 0.5 : 1);
}

json measure(const std::string& slug, const Request& r, const Context& context, Peer* peer) {
  json extra = json::object();
  const json declared = json::parse(describe_mechanism(slug))["params"];
  const bool has_causal = std::any_of(declared.begin(), declared.end(), [](const json& p) { return p["name"] == "causal"; });
  if (r.causal && !has_causal) fail("--causal", "a mechanism with that parameter", slug);
  if (r.causal) extra["causal"] = true;
  const Example given = r.make(slug, extra);
  const json params = json::parse(given.params);
  const bool causal = params.contains("causal") && params["causal"].is_boolean() && params["causal"].get<bool>();

  std::function<Tensor()> work = [&] { return run(slug, given.inputs, given.weights, given.params, {}, context).at("out"); };
  last_plan.clear();
  if (slug == "exact" && r.pairs.empty() && r.with.empty()) {  // on q, k, v in their own dtype; the catalogue widens them
    const Tensor q = given.inputs.at("q"), k = given.inputs.at("k"), v = given.inputs.at("v"), out(r.type(), q.shape());
    AttendOptions options;
    options.causal = causal;
    last_plan = why(q, k, v, options, {}, context);
    work = [=] { return attend(q, k, v, out, options, {}, context), out; };
  }
  set_plan_log([](const std::string& plan) { last_plan = plan; });
  const Tensor out = work();
  set_plan_log(nullptr);
  if (last_plan.empty()) last_plan = "ops; the tiles engine took no part";

  const PeerAnswer ready = peer ? peer->prepare(slug, given, out) : PeerAnswer{};
  const bool both = peer && ready.note.empty();
  const auto [seconds, torch_seconds] = median_seconds(work, r.budget, both ? peer : nullptr);
  const auto flops = attention_work(given.inputs, causal);
  json shapes = json::object();
  for (const auto& [name, tensor] : given.inputs) shapes[name] = tensor.shape().vector();
  const auto first = json::parse(describe_mechanism(slug, given.params))["inputs"];
  json shape;
  for (const auto& input : first)
    if (shape.is_null() && shapes.contains(input["name"])) shape = shapes[input["name"].get<std::string>()];
  if (shape.is_null() && !shapes.empty()) shape = shapes.begin().value();  // all of a pattern
  json row = {{"slug", slug},
              {"shape", shape},
              {"inputs", shapes},
              {"sizes", given.sizes},
              {"dtype", r.dtype},
              {"causal", causal},
              {"isa", name_of(context.isa)},
              {"seconds", seconds},
              {"gflops", flops ? json(*flops / seconds * 1e-9) : json(nullptr)},
              {"why", last_plan}};
  if (peer) {
    row["torch_seconds"] = torch_seconds ? json(*torch_seconds) : json(nullptr);
    row["torch_error"] = torch_seconds ? json(ready.error) : json(nullptr);
    row["torch_note"] = ready.note;
  }
  return row;
}

void print(const json& row, bool torch) {
  std::string shape;
  for (const auto& extent : row["shape"]) shape += (shape.empty() ? "" : ",") + extent.dump();
  fmt::print("{:27} {:16} {}{} {:10.3f} ms", row["slug"].get<std::string>(), shape, row["dtype"].get<std::string>(),
             row["causal"].get<bool>() ? " causal" : "", row["seconds"].get<double>() * 1e3);
  if (!torch) {
    if (row["gflops"].is_null())
      fmt::print("{:17}", "");
    else
      fmt::print(" {:8.1f} GFLOP/s", row["gflops"].get<double>());
    fmt::print("  {}\n", row["why"].get<std::string>());
  } else if (row["torch_seconds"].is_null()) {
    fmt::print(" {:>10}      {}\n", "-", row["torch_note"].get<std::string>());
  } else {
    const double other = row["torch_seconds"], mine = row["seconds"];
    fmt::print(" {:10.3f} ms {:6.2f} x  {:.1e}\n", other * 1e3, other / mine, row["torch_error"].get<double>());
  }
}

std::vector<std::string> chosen(const Request& r) {
  if (r.family.empty()) return r.slugs.empty() ? std::vector<std::string>{"exact"} : r.slugs;
  if (!r.slugs.empty()) fail("--family", "a family, or names of mechanisms", "both");
  return slugs_of(r.family);
}

int bench(const Request& r) {
  const Context context = r.context();
  const auto slugs = chosen(r);
  if (r.file != "-") check_writable("--json", r.file);
  for (const auto& slug : slugs) describe_mechanism(slug);  // every name is right before anything is timed
  const bool torch = r.torch || !r.family.empty();
  std::unique_ptr<Peer> peer;
  if (torch) {
    peer = std::make_unique<Peer>(r.python, r.threads);
    if (!peer->missing().empty()) fmt::print(stderr, "heed bench: no torch column: {}\n", peer->missing());
    if (r.file != "-")
      fmt::print("{:27} {:16} {:4} {:>13} {:>13} {:>9} {}\n", "", "first input", "", "heed", "torch", "torch/heed", "difference");
  }
  json rows = json::array();
  std::size_t refused = 0;
  for (const auto& slug : slugs) {
    try {
      rows.push_back(measure(slug, r, context, peer.get()));
    } catch (const Error& error) {
      if (r.family.empty()) throw;  // of a family, some take no --causal, -p or --shape that others take
      fmt::print(stderr, "heed bench: {}: {}\n", slug, error.what());
      ++refused;
      continue;
    }
    if (r.file != "-") print(rows.back(), torch);
    std::fflush(stdout);
  }
  if (r.file == "-") {
    fmt::print("{}\n", rows.dump(2));
  } else if (!r.file.empty()) {
    write_whole("--json", r.file, rows.dump(2) + "\n");
  }
  return refused == slugs.size() ? 2 : 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  const auto r = std::make_shared<Request>();
  auto* command = app.add_subcommand("bench", "time mechanisms on random tensors");
  command->add_option("slugs", r->slugs, "mechanisms; exact where none is given");
  command->add_option("--family", r->family, "every mechanism of a family, beside torch");
  command->add_flag("--torch", r->torch,
                    "the same module in eager torch beside it, timed in turns (bench/mechanisms.py), where there is one");
  command->add_option("--python", r->python, "the Python with torch; else that of the checkout's .venv, or python3");
  command->add_flag("--causal", r->causal, "causal=true; half the square counts");
  command->add_option("--seconds", r->budget, "spent on each, at least five runs")->check(number_range(0, 3600))->capture_default_str();
  command->add_option("--json", r->file, "write an array of results there; -: to the output alone");
  r->add_to(*command);
  command->callback([r, &action] { action = [r] { return bench(*r); }; });
}

}  // namespace heed::app
