// SPDX-License-Identifier: Apache-2.0
// The weights of exact attention, computed again by the engine from the queries and keys that a model's layers get.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "heed/attend.h"
#include "report.h"

namespace heed::app {
namespace {

constexpr std::int64_t most_cells = 192, sinks = 4;

struct Seen {
  Tensor q, k;  ///< (1, cells, H, D): a query from the middle of each cell; (1, n, G, D)
};

/// What a head's queries look at on average, those of the later half of the text.
struct Habits {
  double first = 0, before = 0, far = 0, entropy = 0;
};

struct Head {
  HeadMap map;
  Habits habits;
};

/// The query in the middle of a cell.
std::int64_t token_of(std::int64_t cell, std::int64_t cells, std::int64_t n) { return (2 * cell + 1) * n / (2 * cells); }

void read_row(Head& head, const float* weights, std::int64_t cell, std::int64_t cells, std::int64_t n) {
  const auto p = token_of(cell, cells, n);
  for (std::int64_t j = 0; j <= p; ++j) head.map.share[std::size_t(cell * cells + j * cells / n)] += weights[j];
  if (cell < cells / 2) return;
  const double part = 1.0 / double(cells - cells / 2);
  auto& h = head.habits;
  for (std::int64_t j = 0; j <= p; ++j) {
    const double w = weights[j] * part;
    if (j < sinks)
      h.first += w;
    else if (j < p - n / 8)
      h.far += w;
    if (p - j == 1) h.before += w;
    if (weights[j] > 0) h.entropy -= w * std::log(weights[j]);
  }
}

std::vector<Head> heads_of(const Seen& seen, std::int64_t layer, std::int64_t n, std::int64_t window, const Context& context) {
  const auto cells = seen.q.extent(1), heads = seen.q.extent(2);
  const Tensor mask = Tensor::zeros(DType::boolean, {1, 1, cells, n});
  for (std::int64_t c = 0; c < cells; ++c) {
    const auto p = token_of(c, cells, n), from = window > 0 ? std::max<std::int64_t>(0, p - window + 1) : 0;
    std::memset(mask.data<std::uint8_t>() + c * n + from, 1, std::size_t(p + 1 - from));
  }
  const Tensor weights(DType::f32, {1, heads, cells, n}), out(DType::f32, seen.q.shape());
  AttendOptions options;
  AttendExtras extras;
  options.mask = mask.view();
  extras.weights = weights.view();
  attend(seen.q, seen.k, seen.k, out, options, extras, context);
  std::vector<Head> result;
  for (std::int64_t h = 0; h < heads; ++h) {
    Head head{{layer, h, "", int(cells), std::vector<float>(std::size_t(cells * cells))}, {}};
    for (std::int64_t c = 0; c < cells; ++c) read_row(head, weights.data<float>() + (h * cells + c) * n, c, cells, n);
    result.push_back(std::move(head));
  }
  return result;
}

}  // namespace

std::vector<HeadMap> head_maps(const Model& model, const std::vector<int>& ids, const Context& context) {
  const auto& c = model.config();
  const auto n = std::int64_t(ids.size()), cells = std::min(n, most_cells);
  std::vector<Seen> layers(std::size_t(c.layers), Seen{});
  for (auto& layer : layers)
    layer = {Tensor(DType::f32, {1, cells, c.heads, c.head_width}), Tensor(DType::f32, {1, n, c.kv_heads, c.head_width})};
  Session session(model, n, {}, context);
  session.watch([&](std::int64_t layer, std::int64_t first, const View& q, const View& k) {
    const auto& to = layers[std::size_t(layer)];
    const auto keys = c.kv_heads * c.head_width, queries = c.heads * c.head_width, some = q.extent(0);
    std::copy_n(static_cast<const float*>(k.data), some * keys, to.k.data<float>() + first * keys);
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      const auto at = token_of(cell, cells, n) - first;
      if (at >= 0 && at < some) std::copy_n(static_cast<const float*>(q.data) + at * queries, queries, to.q.data<float>() + cell * queries);
    }
  });
  session.read(ids);
  std::vector<Head> heads;
  for (std::int64_t layer = 0; layer < c.layers; ++layer)
    for (auto& head : heads_of(layers[std::size_t(layer)], layer, n, c.window, context)) heads.push_back(std::move(head));

  const struct {
    const char* role;
    double Habits::*habit;
    double least;  ///< a head that does less of it is not shown as an example
  } roles[] = {{"at the first tokens", &Habits::first, 0.2},
               {"at the token before", &Habits::before, 0.2},
               {"far back", &Habits::far, 0.2},
               {"widely", &Habits::entropy, 0}};
  std::vector<HeadMap> chosen;
  for (const auto& [role, habit, least] : roles) {
    for (int times = 0; times < 2; ++times) {
      Head* best = nullptr;
      for (auto& head : heads)
        if (head.map.role.empty() && head.habits.*habit >= least && (!best || head.habits.*habit > best->habits.*habit)) best = &head;
      if (!best) break;
      best->map.role = role;
      chosen.push_back(best->map);
    }
  }
  return chosen;
}

}  // namespace heed::app
