// SPDX-License-Identifier: Apache-2.0
#include "heed/fidelity.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/parallel.h"
#include "kernel/rows.h"

namespace heed {
inline namespace v0 {
namespace {

constexpr std::int64_t chunk = 128;  ///< positions whose logits exist at a time

/// KL(p || q) of the softmaxes of two rows of logits with their log-sum-exps: sum p (ln p - ln q).
double divergence(const float* p, float lse_p, const float* q, float lse_q, std::int64_t n) {
  const float shift = lse_q - lse_p;
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += double(std::exp(p[i] - lse_p)) * double(p[i] - q[i] + shift);
  return std::max(sum, 0.0);  // rounding alone makes it negative
}

}  // namespace

Tensor predicting_states(Session& session, std::span<const int> ids, std::int64_t from) {
  const auto n = std::int64_t(ids.size()), width = session.model().config().width;
  if (session.position() != 0) fail("session", "a new one", "one that has read " + std::to_string(session.position()) + " tokens");
  if (from < 1 || from >= n) fail("from", "1 to the tokens less one, " + std::to_string(n - 1), std::to_string(from));
  if (from == 1) return session.read(ids.first(std::size_t(n - 1)), -1);
  const Tensor states(DType::f32, {n - from, width});
  for (std::int64_t i = 0; i < n - from; ++i) {
    const Tensor state = session.read(i == 0 ? ids.first(std::size_t(from)) : ids.subspan(std::size_t(from + i - 1), 1));
    std::memcpy(states.data<float>() + i * width, state.data<float>(), std::size_t(width) * sizeof(float));
  }
  return states;
}

std::vector<Fidelity> compare_states(const Session& reader, const std::vector<Tensor>& states, std::span<const int> targets,
                                     const std::function<void(std::int64_t)>& progress) {
  const auto n = std::int64_t(targets.size()), vocabulary = reader.model().config().vocabulary;
  for (const auto& s : states)
    if (!s.defined() || s.rank() != 2 || s.extent(0) != n)
      fail("states", "a row for each of " + std::to_string(n) + " targets", s.defined() ? s.shape().text() : "none");
  for (const int id : targets)
    if (id < 0 || id >= vocabulary) fail("targets", "ids below " + std::to_string(vocabulary), std::to_string(id));
  const auto& loops = kernel::rows_of(reader.context().isa);
  std::vector<Fidelity> result(states.size());
  for (auto& f : result) {
    for (auto* of : {&f.loss, &f.divergence, &f.delta}) of->resize(std::size_t(n));
    f.same_top.resize(std::size_t(n));
  }
  std::vector<float> lse(chunk);
  std::vector<std::int64_t> top(chunk);
  for (std::int64_t at = 0; at < n; at += chunk) {
    const std::int64_t some = std::min(chunk, n - at);
    Tensor reference;
    for (std::size_t w = 0; w < states.size(); ++w) {
      const Tensor logits = reader.logits(states[w].slice(0, at, some));
      if (w == 0) reference = logits;
      auto& f = result[w];
      base::parallel(reader.context().threads, some, [&](std::int64_t i, int) {
        const float *a = reference.data<float>() + i * vocabulary, *b = logits.data<float>() + i * vocabulary;
        const auto row = std::size_t(i), to = std::size_t(at + i), target = std::size_t(targets[to]);
        const float lse_b = loops.log_sum_exp(b, vocabulary);
        f.loss[to] = lse_b - b[target];
        if (w == 0) {
          lse[row] = lse_b, top[row] = std::max_element(a, a + vocabulary) - a;
          f.same_top[to] = 1;
          return;
        }
        f.divergence[to] = float(divergence(a, lse[row], b, lse_b, vocabulary));
        f.delta[to] = std::exp(b[target] - lse_b) - std::exp(a[target] - lse[row]);
        std::int64_t above = 0;
        for (std::int64_t j = 0; j < vocabulary; ++j) above += b[j] > b[top[row]];
        f.same_top[to] = above == 0;
      });
    }
    if (progress) progress(at + some);
  }
  return result;
}

}  // namespace v0
}  // namespace heed
