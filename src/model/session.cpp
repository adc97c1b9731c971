// SPDX-License-Identifier: Apache-2.0
// The forward pass: x += o(mixer(rope(q), rope(k), v)); x += down(silu(gate) up), each of the normed x (LLaMA, Touvron et al., 2023).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/parallel.h"
#include "heed/model.h"
#include "kernel/rows.h"
#include "mechanism/registry.h"
#include "model/parts.h"
#include "heed/ops.h"

namespace heed {
inline namespace v0 {
namespace {

constexpr std::int64_t block = 512;     ///< tokens that go through the layers together
constexpr std::int64_t task_rows = 16;  ///< of an elementwise task

/// What a cache keeps: bf16 where products of bf16 pairs are at hand, else f16, which keeps more bits.
DType kept_by(const Context& context) {
  if (context.precision == Precision::strict) return DType::f32;
  const bool pairs = context.isa != Isa::avx2 && context.isa != Isa::avx512;
  return pairs ? DType::bf16 : DType::f16;
}

/// (1, n, heads, width) over dense rows.
Tensor heads_of(const Tensor& rows, std::int64_t n, std::int64_t heads, std::int64_t width) {
  return {dense_view(rows.data<float>(), DType::f32, {1, n, heads, width}), std::make_shared<Tensor>(rows)};
}

}  // namespace

struct Session::Parts {
  Model model;
  Context context;
  std::int64_t capacity = 0, position = 0;
  std::unique_ptr<mechanism::Mechanism> body;
  mechanism::Mixer* mixer = nullptr;
  std::string parameters;
  std::vector<std::unique_ptr<mechanism::Mixer::State>> states;
  std::vector<double> frequencies;
  Watch watch;
  Tensor x, normed, q, k, v, mixed, gate, up, cos, sin;  ///< of the tokens in flight, grown as needed
  engine::Activations normed_rows, inner_rows;           ///< what products read of `normed` and of `mixed` or `gate`

  const model::Config& config() const { return model.parts_->config; }
  const model::Weights& weights() const { return model.parts_->weights; }
  const kernel::RowTable& loops() const { return kernel::rows_of(context.isa); }

  template <class F>
  void rows(std::int64_t n, F&& each) const {
    base::parallel(context.threads, (n + task_rows - 1) / task_rows, [&](std::int64_t task, int) {
      for (std::int64_t i = task * task_rows; i < std::min(n, (task + 1) * task_rows); ++i) each(i);
    });
  }
  void norm(const float* from, const Tensor& weight, std::int64_t n, float* to) const {
    const std::int64_t width = config().width;
    rows(n, [&](std::int64_t i) {
      loops().rms_norm(from + i * width, weight.data<float>(), float(config().norm_epsilon), width, to + i * width);
    });
  }
  /// Dense rows of each linear map's outputs, as one loop over all of them.
  struct Product {
    const model::Linear* linear;
    float* to;
  };
  void multiply(engine::Activations& from, std::initializer_list<Product> all) const {
    std::vector<engine::Matrix::Product> products;
    for (const Product& p : all) products.push_back({&p.linear->matrix, p.to, p.linear->matrix.outputs()});
    engine::Matrix::multiply(context, from, products);
    for (const Product& p : all) {
      const std::int64_t out = p.linear->matrix.outputs();
      if (!p.linear->bias.defined()) continue;
      rows(from.rows(), [&](std::int64_t i) { loops().add(p.to + i * out, p.linear->bias.data<float>(), out); });
    }
  }

  void grow(std::int64_t n);
  void turn(Tensor& rows, std::int64_t n, std::int64_t heads) const;
  void attend(std::int64_t layer, std::int64_t n);
  void mlp(const model::LayerWeights& weights, std::int64_t from, std::int64_t n);
  void forward(std::span<const int> ids, std::int64_t keep, float* states);
};

void Session::Parts::grow(std::int64_t n) {
  if (x.defined() && x.extent(0) >= n) return;
  const auto& c = config();
  const std::int64_t some = std::min(n, block);
  x = Tensor(DType::f32, {n, c.width});
  normed = Tensor(DType::f32, {some, c.width});
  q = Tensor(DType::f32, {n, c.heads * c.head_width});
  k = Tensor(DType::f32, {n, c.kv_heads * c.head_width});
  v = Tensor(DType::f32, {n, c.kv_heads * c.head_width});
  mixed = Tensor(DType::f32, {n, c.heads * c.head_width});
  gate = Tensor(DType::f32, {some, c.inner});
  up = Tensor(DType::f32, {some, c.inner});
  cos = Tensor(DType::f32, {n, c.head_width / 2});
  sin = Tensor(DType::f32, {n, c.head_width / 2});
}

void Session::Parts::turn(Tensor& of, std::int64_t n, std::int64_t heads) const {
  const std::int64_t width = config().head_width, half = width / 2;
  rows(n, [&](std::int64_t i) {
    for (std::int64_t h = 0; h < heads; ++h)
      loops().rotate(of.data<float>() + (i * heads + h) * width, cos.data<float>() + i * half, sin.data<float>() + i * half, half);
  });
}

void Session::Parts::attend(std::int64_t layer, std::int64_t n) {
  const auto& c = config();
  const auto& w = weights().layers[std::size_t(layer)];
  for (std::int64_t at = 0; at < n; at += block) {
    const std::int64_t some = std::min(block, n - at);
    norm(x.data<float>() + at * c.width, w.attention_norm, some, normed.data<float>());
    normed_rows.set(normed.data<float>(), some, c.width, c.width);
    multiply(normed_rows, {{&w.q, q.data<float>() + at * c.heads * c.head_width},
                           {&w.k, k.data<float>() + at * c.kv_heads * c.head_width},
                           {&w.v, v.data<float>() + at * c.kv_heads * c.head_width}});
  }
  if (!mixer->before_rotation()) {
    turn(q, n, c.heads);
    turn(k, n, c.kv_heads);
  }
  const Tensor queries = heads_of(q, n, c.heads, c.head_width), keys = heads_of(k, n, c.kv_heads, c.head_width);
  if (watch) {
    const auto seen = [&](const Tensor& rows, std::int64_t heads) {
      return dense_view(rows.data<float>(), DType::f32, {n, heads, c.head_width});
    };
    watch(layer, position, seen(q, c.heads), seen(k, c.kv_heads));
  }
  Ops ops(context);
  mixer->read(*states[std::size_t(layer)], queries, keys, heads_of(v, n, c.kv_heads, c.head_width), position,
              heads_of(mixed, n, c.heads, c.head_width), ops);
}

/// The output projection and the MLP of rows [from, n).
void Session::Parts::mlp(const model::LayerWeights& w, std::int64_t from, std::int64_t n) {
  const auto& c = config();
  for (std::int64_t at = from; at < n; at += block) {
    const std::int64_t some = std::min(block, n - at), inner = c.inner, width = c.width;
    float *to = x.data<float>() + at * width, *h = normed.data<float>(), *g = gate.data<float>(), *u = up.data<float>();
    const auto add = [&] { rows(some, [&](std::int64_t i) { loops().add(to + i * width, h + i * width, width); }); };
    inner_rows.set(mixed.data<float>() + at * c.heads * c.head_width, some, c.heads * c.head_width, c.heads * c.head_width);
    multiply(inner_rows, {{&w.o, h}});
    add();
    norm(to, w.mlp_norm, some, h);
    normed_rows.set(h, some, width, width);
    multiply(normed_rows, {{&w.gate, g}, {&w.up, u}});
    rows(some, [&](std::int64_t i) { loops().silu_mul(g + i * inner, u + i * inner, inner); });
    inner_rows.set(g, some, inner, inner);
    multiply(inner_rows, {{&w.down, h}});
    add();
  }
}

/// Tokens through all layers; the final states of the last `keep`.
void Session::Parts::forward(std::span<const int> ids, std::int64_t keep, float* states_out) {
  const auto& c = config();
  const auto n = std::int64_t(ids.size()), half = c.head_width / 2;
  grow(n);
  rows(n, [&](std::int64_t i) {
    weights().embedding.row(ids[std::size_t(i)], x.data<float>() + i * c.width);
    for (std::int64_t t = 0; t < half; ++t) {
      const double angle = double(position + i) * frequencies[std::size_t(t)];
      cos.data<float>()[i * half + t] = float(c.rope.attention_factor * std::cos(angle));
      sin.data<float>()[i * half + t] = float(c.rope.attention_factor * std::sin(angle));
    }
  });
  for (std::int64_t layer = 0; layer < c.layers; ++layer) {
    attend(layer, n);
    mlp(weights().layers[std::size_t(layer)], layer + 1 < c.layers ? 0 : n - keep, n);
  }
  norm(x.data<float>() + (n - keep) * c.width, weights().norm, keep, states_out);
  position += n;
}

Session::Session(const Model& model, std::int64_t capacity, const Way& way, const Context& context) : parts_(std::make_unique<Parts>()) {
  if (!model.parts_) fail("model", "a loaded model", "an empty one");
  auto& p = *parts_;
  p.model = model, p.context = context, p.capacity = capacity;
  const auto& c = p.config();
  if (capacity < 1 || capacity > c.context)
    fail("capacity", "1 to the model's " + std::to_string(c.context) + " tokens", std::to_string(capacity));
  if (context.precision != Precision::fast && context.precision != Precision::strict)
    fail("precision", "fast or strict for a model", "another");
  if (context.threads < 0) fail("context.threads", "0 or more", std::to_string(context.threads));
  p.body = mechanism::configure(way.slug, way.params, &p.parameters);
  p.mixer = dynamic_cast<mechanism::Mixer*>(p.body.get());
  if (!p.mixer) {
    std::string known;
    for (const auto& slug : list_ways()) known += (known.empty() ? "" : ", ") + slug;
    fail("way", "a mechanism that can stand in for a model's attention (" + known + ")", way.slug);
  }
  p.frequencies = model::frequencies(c, capacity);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const mechanism::Layer layer{
        i, c.heads, c.kv_heads, c.head_width, c.head_width, capacity, c.windowed[std::size_t(i)] ? c.window - 1 : -1, kept_by(context)};
    p.states.push_back(p.mixer->open(layer));
  }
}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

Tensor Session::read(std::span<const int> ids, std::int64_t keep) {
  auto& p = *parts_;
  const auto n = std::int64_t(ids.size());
  if (n == 0) fail("ids", "at least one token", "none");
  if (n > p.capacity - p.position)
    fail("ids", "at most the " + std::to_string(p.capacity - p.position) + " tokens that the session has room for", std::to_string(n));
  for (const int id : ids)
    if (id < 0 || id >= p.config().vocabulary) fail("ids", "ids below " + std::to_string(p.config().vocabulary), std::to_string(id));
  if (keep < 0) keep = n;
  if (keep > n) fail("keep", "at most the tokens read, " + std::to_string(n), std::to_string(keep));
  const Tensor states(DType::f32, {keep, p.config().width});
  const std::int64_t step = p.mixer->whole_prompt() && p.position == 0 ? n : block;
  for (std::int64_t at = 0, kept = 0; at < n; at += step) {
    const std::int64_t some = std::min(step, n - at), here = std::clamp<std::int64_t>(at + some - (n - keep), 0, some);
    p.forward(ids.subspan(std::size_t(at), std::size_t(some)), here, states.data<float>() + kept * p.config().width);
    kept += here;
  }
  return states;
}

Tensor Session::logits(const Tensor& states) const {
  const auto& c = parts_->config();
  if (!states.defined() || states.rank() != 2 || states.extent(1) != c.width || states.dtype() != DType::f32)
    fail("states", "f32 (n, " + std::to_string(c.width) + ")",
         states.defined() ? name_of(states.dtype()) + (" " + states.shape().text()) : "none");
  const Tensor from = states.dense(), to(DType::f32, {states.extent(0), c.vocabulary});
  if (to.count() > 0)
    parts_->weights().output().multiply(parts_->context, from.data<float>(), from.extent(0), c.width, to.data<float>(), c.vocabulary);
  return to;
}

std::int64_t Session::position() const { return parts_->position; }
std::int64_t Session::capacity() const { return parts_->capacity; }
const Model& Session::model() const { return parts_->model; }
const Context& Session::context() const { return parts_->context; }
std::string Session::parameters() const { return parts_->parameters; }
void Session::watch(Watch watch) { parts_->watch = std::move(watch); }

std::int64_t Session::kv_bytes() const {
  std::int64_t sum = 0;
  for (const auto& state : parts_->states) sum += state->bytes();
  return sum;
}

}  // namespace v0
}  // namespace heed
