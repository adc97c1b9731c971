// SPDX-License-Identifier: Apache-2.0
// From logits to tokens and log-probabilities.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/parallel.h"
#include "base/random.h"
#include "heed/model.h"
#include "kernel/rows.h"

namespace heed {
inline namespace v0 {

namespace {
constexpr std::int64_t score_rows = 256;  ///< positions whose logits exist at a time
}

std::vector<float> score(Session& session, std::span<const int> ids) {
  if (session.position() != 0) fail("session", "a new one", "one that has read " + std::to_string(session.position()) + " tokens");
  if (ids.size() < 2) fail("ids", "at least two tokens", std::to_string(ids.size()));
  const Tensor states = session.read(ids, -1);
  const auto n = std::int64_t(ids.size()) - 1;
  std::vector<float> result(std::size_t(n), 0.0f);
  for (std::int64_t at = 0; at < n; at += score_rows) {
    const std::int64_t some = std::min(score_rows, n - at);
    const Tensor logits = session.logits(states.slice(0, at, some));
    const std::int64_t vocabulary = logits.extent(1);
    base::parallel(session.context().threads, some, [&](std::int64_t i, int) {
      const float* row = logits.data<float>() + i * vocabulary;
      result[std::size_t(at + i)] = row[ids[std::size_t(at + i + 1)]] - kernel::rows_of(session.context().isa).log_sum_exp(row, vocabulary);
    });
  }
  return result;
}

int sample(const View& logits, const Sampling& s, std::uint64_t index) {
  if (logits.dtype != DType::f32 || logits.rank() != 1 || logits.count() < 1) fail("logits", "f32 (vocabulary)", logits.shape.text());
  if (!(s.temperature >= 0) || !std::isfinite(s.temperature)) fail("temperature", "0 or more", std::to_string(s.temperature));
  if (s.top_k < 0) fail("top_k", "0 or more", std::to_string(s.top_k));
  if (!(s.top_p > 0 && s.top_p <= 1)) fail("top_p", "above 0, at most 1", std::to_string(s.top_p));
  const auto at = [&](int i) { return double(static_cast<const float*>(logits.data)[i * logits.strides[0]]); };
  const int n = int(logits.count());
  if (s.temperature == 0) {
    int best = 0;
    float most = float(at(0));
    for (int i = 1; i < n; ++i)
      if (const float x = static_cast<const float*>(logits.data)[i * logits.strides[0]]; x > most) best = i, most = x;
    return best;
  }
  std::vector<int> order(std::size_t(n), 0);
  std::iota(order.begin(), order.end(), 0);
  const auto likelier = [&](int a, int b) { return at(a) != at(b) ? at(a) > at(b) : a < b; };
  const auto kept = s.top_k > 0 ? std::min<std::int64_t>(s.top_k, n) : n;
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), likelier);
  order.resize(std::size_t(kept));
  std::vector<double> mass;  // cumulative, unnormalised
  double sum = 0;
  for (const int i : order) mass.push_back(sum += std::exp((at(i) - at(order[0])) / s.temperature));
  const auto covers = std::lower_bound(mass.begin(), mass.end(), s.top_p * sum);
  if (covers != mass.end()) mass.erase(covers + 1, mass.end());
  const base::Random random(s.seed, 0);
  const double drawn = (random.uniform(2 * index) + 0x1p-24 * random.uniform(2 * index + 1)) * mass.back();
  const auto found = std::upper_bound(mass.begin(), mass.end(), drawn);
  return order[std::size_t(std::min(found, mass.end() - 1) - mass.begin())];
}

std::vector<int> generate(Session& session, std::span<const int> ids, std::int64_t tokens, const Sampling& sampling,
                          const std::function<bool(int)>& each) {
  if (tokens < 0) fail("tokens", "0 or more", std::to_string(tokens));
  const auto room = session.capacity() - session.position();
  if (std::int64_t(ids.size()) + std::max<std::int64_t>(tokens - 1, 0) > room)
    fail("tokens", "a prompt and its continuation of at most " + std::to_string(room),
         std::to_string(ids.size()) + " + " + std::to_string(tokens));
  std::vector<int> written;
  Tensor state = session.read(ids);
  while (std::int64_t(written.size()) < tokens) {
    const Tensor logits = session.logits(state);
    const int id = sample(logits.reshape({logits.count()}), sampling, std::uint64_t(session.position()));
    if (session.model().ends(id)) break;
    written.push_back(id);
    if (each && !each(id)) break;
    if (std::int64_t(written.size()) < tokens) state = session.read(std::span(&id, 1));
  }
  return written;
}

}  // namespace v0
}  // namespace heed
