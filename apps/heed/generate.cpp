// SPDX-License-Identifier: Apache-2.0
// heed generate | logits | score: a model writes, and says how likely a text is.
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>

#include "command.h"
#include "heed/model.h"
#include "heed/safetensors.h"

namespace heed::app {
namespace {

struct Options {
  std::string model, prompt, text, with = "exact", precision = "fast", out, ids;
  std::int64_t tokens = 64, context_tokens = 0;
  Sampling sampling;
  int threads = 0;
  bool special = false, as_json = false, timing = false;

  Context context() const {
    Context c;
    c.threads = threads;
    c.precision = precision_of(precision);
    return c;
  }
};

void add_common(CLI::App& command, Options& o) {
  command.add_option("--model", o.model, "a Hugging Face directory or a GGUF file")->required();
  command.add_option("--with", o.with, "SLUG[,name=value]...: the mechanism in place of the model's attention");
  command.add_option("--threads", o.threads, "0: as many as OpenMP would use")->check(thread_range());
  command.add_option("--precision", o.precision, "of products (fast)")->check(one_of({"strict", "fast"}));
}

int generate(const Options& o) {
  const Model model = Model::load(o.model, o.threads);
  const Tokenizer& tokenizer = model.tokenizer();
  if (o.prompt.empty() == o.text.empty()) fail("--prompt", "a text, or --text FILE", o.prompt.empty() ? "neither" : "both");
  const auto ids = tokenizer.encode(o.text.empty() ? o.prompt : read_text("--text", o.text), o.special);
  if (ids.empty()) fail("--prompt", "at least one token", "none");
  const auto need = std::int64_t(ids.size()) + o.tokens;
  if (need > model.config().context)
    fail("--prompt and --tokens", "at most the model's " + std::to_string(model.config().context) + " tokens", std::to_string(need));
  Session session(model, need, parse_way(o.with), o.context());
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto first = start;
  const auto written = heed::generate(session, ids, o.tokens, o.sampling, [&](int id) {
    if (first == start) first = Clock::now();
    fmt::print("{}", tokenizer.decode(std::span(&id, 1)));
    return std::fflush(stdout) == 0;
  });
  const auto seconds = [](auto a, auto b) { return std::chrono::duration<double>(b - a).count(); };
  fmt::print("\n");
  if (o.timing)
    fmt::print(
        stderr,
        "read {} tokens in {:.3f} s ({:.1f} tokens/s), wrote {} ({:.1f} tokens/s), {:.1f} MiB of keys and values, {:.1f} MiB of weights\n",
        ids.size(), seconds(start, first), double(ids.size()) / seconds(start, first), written.size(),
        double(written.size()) / seconds(first, Clock::now()), double(session.kv_bytes()) / 1048576,
        double(model.weight_bytes()) / 1048576);
  return 0;
}

/// Ids of --ids, or of the first tokens of --text.
std::vector<int> given_ids(const Options& o, const Model& model) {
  if (o.ids.empty() == o.text.empty()) fail("--ids", "numbers, or --text FILE", o.ids.empty() ? "neither" : "both");
  std::vector<int> ids;
  if (!o.ids.empty()) {
    const auto list = parse_json("[" + o.ids + "]");
    if (list.is_discarded()) fail("--ids", "numbers separated by commas", "'" + o.ids + "'");
    for (const auto& id : list) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= model.config().vocabulary)
        fail("--ids", "ids below " + std::to_string(model.config().vocabulary), id.dump());
      ids.push_back(id.get<int>());
    }
  } else {
    ids = model.tokenizer().encode(read_text("--text", o.text), o.special);
  }
  if (o.context_tokens > std::int64_t(ids.size()))
    fail("--context", "at most the text's " + std::to_string(ids.size()) + " tokens", std::to_string(o.context_tokens));
  if (o.context_tokens > 0) ids.resize(std::size_t(o.context_tokens));
  if (const auto most = model.config().context; std::int64_t(ids.size()) > most)
    fail(o.ids.empty() ? "--text" : "--ids", "at most the model's " + std::to_string(most) + " tokens (--context takes the first)",
         std::to_string(ids.size()));
  return ids;
}

int logits(const Options& o) {
  check_writable("--out", o.out);
  const Model model = Model::load(o.model, o.threads);
  const auto ids = given_ids(o, model);
  Session session(model, std::max<std::int64_t>(1, std::int64_t(ids.size())), parse_way(o.with), o.context());
  SafeTensors content;
  content.tensors["logits"] = session.logits(session.read(ids, -1));
  const Tensor read(DType::i64, {std::int64_t(ids.size())});
  std::copy(ids.begin(), ids.end(), read.data<std::int64_t>());
  content.tensors["ids"] = read;
  write_safetensors(o.out, content);
  return 0;
}

int score(const Options& o) {
  const Model model = Model::load(o.model, o.threads);
  const auto ids = given_ids(o, model);
  Session session(model, std::max<std::int64_t>(1, std::int64_t(ids.size())), parse_way(o.with), o.context());
  double nats = 0;
  for (const float p : heed::score(session, ids)) nats -= p;
  const auto bytes = model.tokenizer().decode(ids).size();
  const double bits = nats / std::log(2.0) / double(bytes);
  if (o.as_json)
    fmt::print(
        "{}\n",
        nlohmann::json{{"tokens", ids.size()}, {"bytes", bytes}, {"nats", nats}, {"bits_per_byte", bits}, {"kv_bytes", session.kv_bytes()}}
            .dump());
  else
    fmt::print("{} tokens, {} bytes, {:.4f} bits per byte\n", ids.size(), bytes, bits);
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  const auto o = std::make_shared<Options>();
  auto* write = app.add_subcommand("generate", "read a prompt and continue it");
  add_common(*write, *o);
  write->add_option("--prompt", o->prompt, "the text to continue");
  write->add_option("--text", o->text, "a file that holds it");
  write->add_option("--tokens", o->tokens, "the most tokens to write (64)")->check(count_range(0));
  write->add_option("--temperature", o->sampling.temperature, "0: the likeliest token each time")
      ->check(number_range(0, std::numeric_limits<double>::infinity()));
  write->add_option("--top-k", o->sampling.top_k, "so many of the likeliest tokens alone; 0: all")
      ->check(count_range(0, std::numeric_limits<int>::max()));
  write->add_option("--top-p", o->sampling.top_p, "the likeliest tokens that hold this share alone (1)")->check(number_range(0, 1));
  write->add_option("--seed", o->sampling.seed, "of the choice of tokens (0)")->check(seed_range());
  write->add_flag("--special", o->special, "special tokens spelled in the prompt are meant");
  write->add_flag("--timing", o->timing, "speed and memory, to the error stream");
  write->callback([=, &action] { action = [=] { return generate(*o); }; });

  const auto add_text = [&](CLI::App& command) {
    add_common(command, *o);
    command.add_option("--text", o->text, "a file to read");
    command.add_option("--ids", o->ids, "token ids, separated by commas");
    command.add_option("--context", o->context_tokens, "the first tokens of the text (all)")->check(count_range(1));
    command.add_flag("--special", o->special, "special tokens spelled in the text are meant");
  };
  auto* rows = app.add_subcommand("logits", "the logits of every position, to a safetensors file");
  add_text(*rows);
  rows->add_option("--out", o->out, "gets `logits`, f32 (tokens, vocabulary), and `ids`")->required();
  rows->callback([=, &action] { action = [=] { return logits(*o); }; });

  auto* bits = app.add_subcommand("score", "bits per byte of a text: of tokens 2 to n, over the bytes of all n");
  add_text(*bits);
  bits->add_flag("--json", o->as_json, "an object");
  bits->callback([=, &action] { action = [=] { return score(*o); }; });
}

}  // namespace heed::app
