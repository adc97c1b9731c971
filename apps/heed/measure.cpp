// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <numeric>
#include <optional>

#include "heed/fidelity.h"

namespace heed::app {
namespace {

constexpr std::int64_t least_scored = 100, written = 64, writings = 3, error_blocks = 32;

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Estimate {
  double mean = 0, error = 0;
};

/// The mean of value(0), ..., value(n - 1) and its standard error, from the means of blocks of neighbours: neighbouring tokens correlate.
template <class F>
Estimate estimate(std::int64_t n, F&& value) {
  const std::int64_t blocks = std::min(error_blocks, n);
  std::vector<double> means;
  double sum = 0, spread = 0;
  for (std::int64_t b = 0; b < blocks; ++b) {
    double part = 0;
    const std::int64_t from = b * n / blocks, to = (b + 1) * n / blocks;
    for (std::int64_t i = from; i < to; ++i) part += value(std::size_t(i));
    means.push_back(part / double(to - from));
    sum += part;
  }
  const double mean = sum / double(n);
  for (const double m : means) spread += (m - mean) * (m - mean);
  return {mean, blocks < 2 ? 0 : std::sqrt(spread / double(blocks * (blocks - 1)))};
}

/// The value that a share of the sorted values does not exceed.
double percentile(const std::vector<float>& sorted, double share) {
  const auto rank = std::size_t(std::ceil(share * double(sorted.size())));
  return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

/// Tokens written after `state`, the likeliest each time, an end token too: tokens a second.
double write_rate(Session& session, Tensor& state, std::int64_t tokens) {
  const auto start = Clock::now();
  for (std::int64_t i = 0; i < tokens; ++i) {
    const Tensor logits = session.logits(state);
    const int id = sample(logits.reshape({logits.count()}), {}, 0);
    state = session.read(std::span(&id, 1));
  }
  return double(tokens) / since(start);
}

/// Reading, writing and what is held after reading.
Json time_way(const Model& model, const std::vector<int>& ids, const Way& way, const Context& context) {
  const auto n = std::int64_t(ids.size()), room = model.config().context;
  const std::int64_t tokens = std::min(written, (room - 1) / writings), all = writings * tokens, depth = std::min(n, room - all);
  Json row;
  // Short readings are repeated and the shortest counts: what else the machine does shows most in them.
  double seconds = 0, spent = 0;
  std::optional<Session> session;
  Tensor state;
  for (int i = 0; i < 3 && spent < 1; ++i) {
    session.emplace(model, std::min(room, n + all), way, context);
    const auto start = Clock::now();
    state = session->read(ids);
    session->logits(state);
    const double took = since(start);
    seconds = i == 0 ? took : std::min(seconds, took);
    spent += took;
  }
  row["read_seconds"] = seconds;
  row["read_tokens_per_second"] = double(n) / seconds;
  row["kv_bytes"] = session->kv_bytes();
  // A text that fills the model's context leaves no room to write: a shorter beginning of it is read again.
  if (depth < n) {
    session.emplace(model, depth + all, way, context);
    state = session->read(std::span(ids).first(std::size_t(depth)));
  }
  std::vector<double> rates;
  for (int i = 0; i < writings; ++i) rates.push_back(write_rate(*session, state, tokens));
  std::sort(rates.begin(), rates.end());
  row["write_tokens_per_second"] = rates[writings / 2];
  row["written_tokens"] = tokens;
  row["write_depth"] = depth;
  return row;
}

/// The columns of quality. `from`: the position of the first scored token; `bytes`: what the text takes there.
void add_quality(Json& row, const Fidelity& way, const Fidelity& exact, std::int64_t from, double bytes) {
  const auto n = std::int64_t(way.loss.size());
  const auto loss = estimate(n, [&](auto i) { return way.loss[i]; });
  const double bits = double(n) / std::numbers::ln2 / bytes;
  const auto base = estimate(n, [&](auto i) { return exact.loss[i]; });
  const double ratio = loss.mean / base.mean;
  const auto rest = estimate(n, [&](auto i) { return way.loss[i] - ratio * exact.loss[i]; });
  const auto kld = estimate(n, [&](auto i) { return way.divergence[i]; });
  const auto delta = estimate(n, [&](auto i) { return double(way.delta[i]) * way.delta[i]; });
  const auto top = estimate(n, [&](auto i) { return double(way.same_top[i]); });
  row["scored_from"] = from;
  row["scored_tokens"] = n;
  row["scored_bytes"] = std::int64_t(bytes);
  row["bits_per_byte"] = loss.mean * bits;
  row["bits_per_byte_error"] = loss.error * bits;
  row["bits_per_byte_ratio"] = ratio;
  row["bits_per_byte_ratio_error"] = rest.error / base.mean;
  row["kld_mean"] = kld.mean;
  row["kld_mean_error"] = kld.error;
  auto sorted = way.divergence;
  std::sort(sorted.begin(), sorted.end());
  for (const auto& [name, share] : {std::pair{"50", 0.5}, {"90", 0.9}, {"95", 0.95}, {"99", 0.99}, {"99.9", 0.999}})
    row["kld_percentiles"][name] = percentile(sorted, share);
  row["kld_max"] = sorted.back();
  row["rms_delta_p"] = std::sqrt(delta.mean);
  row["rms_delta_p_error"] = delta.mean > 0 ? delta.error / (2 * std::sqrt(delta.mean)) : 0;
  row["same_top"] = top.mean;
  row["same_top_error"] = top.error;
  const std::int64_t stretches = std::clamp<std::int64_t>(n / 32, 4, 64);
  for (std::int64_t s = 0; s < stretches; ++s) {
    const std::int64_t first = s * n / stretches, end = (s + 1) * n / stretches;
    row["curve"].push_back(std::accumulate(way.loss.begin() + first, way.loss.begin() + end, 0.0) / double(end - first));
    row["curve_ends"].push_back(from + end);
  }
}

/// The parameters a way was called with; `variant`: only the words among their values, which tell its variants apart.
std::string given_of(const Way& way, bool variant) {
  const auto params = Json::parse(way.params);
  std::string text;
  for (const auto& [name, value] : params.items()) {
    const bool word = value.is_string();
    if (variant && !word) continue;
    text += text.empty() ? "" : ",";
    text += variant ? value.get<std::string>() : name + "=" + (word ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

std::vector<Json> measure(const Model& model, const std::vector<int>& ids, const Comparison& comparison,
                          const std::function<void(const std::string&, double)>& step) {
  const auto n = std::int64_t(ids.size()), split = comparison.split;
  const auto& context = comparison.context;
  if (split != 0 && (split < 1 || split >= n)) fail("--split", "1 to " + std::to_string(n - 1) + " tokens", std::to_string(split));
  const std::int64_t from = split == 0 ? 1 : split;
  if (n - from < least_scored) fail("--text", "at least 100 tokens to score", std::to_string(std::max<std::int64_t>(0, n - from)));

  std::vector<Way> ways{Way{}};
  ways.insert(ways.end(), comparison.ways.begin(), comparison.ways.end());
  std::vector<Json> rows;
  for (const auto& way : ways) {  // each is opened once before the long work, so that a wrong one costs no time
    const Session session(model, n, way, context);
    rows.push_back({{"way", way.slug},
                    {"variant", given_of(way, true)},
                    {"given", given_of(way, false)},
                    {"parameters", Json::parse(session.parameters())}});
  }
  const bool strict = context.precision == Precision::strict;
  const double passes = 2.0 * double(ways.size()) + (split != 0) + !strict + 2;
  double pass = 0;
  const auto next = [&](const std::string& label) { step(label, pass++ / passes); };

  next("warming");
  Session reader(model, std::min<std::int64_t>(n, 512), {}, context);
  reader.logits(reader.read(std::span(ids).first(std::size_t(reader.capacity()))));

  const std::span<const int> text(ids);
  const auto bytes = [&](std::int64_t begin) { return double(model.tokenizer().decode(text.subspan(std::size_t(begin))).size()); };
  const auto states_of = [&](const Way& way, std::int64_t begin) {
    Session session(model, n, way, context);
    return predicting_states(session, text, begin);
  };
  std::vector<Tensor> states;
  Tensor whole;  // exact over every position, where the others are scored after the split
  for (std::size_t i = 0; i < ways.size(); ++i) {
    next(ways[i].slug + ": reading and writing");
    rows[i].update(time_way(model, ids, ways[i], context));
    next(ways[i].slug + ": predicting");
    states.push_back(states_of(ways[i], from));
  }
  if (split != 0) {
    next("exact: predicting everything");
    whole = states_of(Way{}, 1);
    Json row = rows[0];
    row["way"] = "exact@" + std::to_string(split);
    rows.insert(rows.begin() + 1, row);
    const auto all = compare_states(reader, {whole}, text.subspan(1));
    add_quality(rows[0], all[0], all[0], 1, bytes(0));
  }
  const double scoring = pass++;
  const auto scores = compare_states(reader, states, text.subspan(std::size_t(from)),
                                     [&](std::int64_t done) { step("scoring", (scoring + double(done) / double(n - from)) / passes); });
  // Bytes of all tokens, the first too, as elsewhere; of the rest alone after a split.
  for (std::size_t i = 0; i < states.size(); ++i) add_quality(rows[i + (split != 0)], scores[i], scores[0], from, bytes(split));
  if (!strict) {
    next("exact: strict");
    Context plain = context;
    plain.precision = Precision::strict;
    Session session(model, n, {}, plain);
    const auto known = score(session, text);
    rows[0]["bits_per_byte_strict"] = -std::accumulate(known.begin(), known.end(), 0.0) / std::numbers::ln2 / bytes(0);
  }
  const auto hash = model.hash();
  for (auto& row : rows) {
    row["tokens"] = n;
    row["precision"] = strict ? "strict" : "fast";
    row["isa"] = name_of(context.isa);
    row["threads"] = context.threads;
    row["model_hash"] = hash;
  }
  return rows;
}

std::vector<Way> usual_ways(std::int64_t n) {
  const auto at_most = [n](std::int64_t paper, std::int64_t part) { return std::max<std::int64_t>(1, std::min(paper, n / part)); };
  const auto local = at_most(4096, 8), blocks = at_most(16 * 64, 8) / 64;
  return {
      parse_way(fmt::format("sliding-window,window=[{},0]", local - 1)),
      parse_way(fmt::format("sink-window,sinks=4,window=[{},0]", local - 1)),
      parse_way(fmt::format("dilated-window,window={},dilation=4", at_most(128, 32))),
      parse_way(fmt::format("minference,pattern=a_shape,n_init={},n_local={}", at_most(1024, 32), local)),
      parse_way(fmt::format("minference,pattern=vertical_and_slash,vertical_size={},slash_size={}", at_most(1000, 16), at_most(6096, 8))),
      parse_way(fmt::format("minference,pattern=block_sparse,top_k={}", at_most(100, 64 * 8))),
      parse_way("flexprefill,gamma=0.9,tau=0.1"),
      parse_way(fmt::format("sparse-transformer,attn_mode=strided,local_attn_ctx={}", at_most(128, 32))),
      parse_way(fmt::format("sparse-transformer,attn_mode=fixed,local_attn_ctx={},blocksize={}", at_most(128, 32), at_most(32, 128))),
      parse_way(fmt::format("s2-attention,local_blocks={},vert_stride=8", std::max<std::int64_t>(1, blocks))),
  };
}

}  // namespace heed::app
