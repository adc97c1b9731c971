// SPDX-License-Identifier: Apache-2.0
// Playing the graph of heed/tape.h backwards.
#include <map>
#include <set>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

using Node = std::shared_ptr<const Origin>;
struct Later {
  bool operator()(const Node& a, const Node& b) const { return a->order > b->order; }
};
/// Gradients that have arrived so far, the last op of the forward pass first.
using Arrived = std::map<Node, std::vector<Tensor>, Later>;

void arrive(const Ops& ops, Arrived& arrived, const Source& at, const Tensor& gradient) {
  auto& places = arrived[at.origin];
  if (places.size() <= std::size_t(at.place)) places.resize(std::size_t(at.place) + 1);
  Tensor& sum = places[std::size_t(at.place)];
  sum = sum.defined() ? ops.add(sum, gradient) : gradient;
}

Tensor step_back(const Ops& ops, const ViewStep& step, const Tensor& g) {
  switch (step.kind) {
    case ViewStep::Kind::permute: {
      std::vector<int> inverse(step.axes.size());
      for (std::size_t i = 0; i < step.axes.size(); ++i) {
        const int rank = int(step.axes.size()), axis = step.axes[i] < 0 ? step.axes[i] + rank : step.axes[i];
        inverse[std::size_t(axis)] = int(i);
      }
      return g.permute(inverse);
    }
    case ViewStep::Kind::slice:
      return ops.pad(g, step.axis, step.begin, step.from[step.axis] - step.begin - g.extent(step.axis));
    case ViewStep::Kind::broadcast:
      return ops.sum_to(g, step.from);
    case ViewStep::Kind::reshape:
      return g.reshape(step.from);
  }
  return {};
}

/// The nodes between the outputs and the wanted ones: gradients go nowhere else.
std::set<const Origin*> path(const std::vector<Tensor>& outputs, const std::vector<Tensor>& of) {
  std::set<const Origin*> useful;
  for (const Tensor& x : of) useful.insert(x.origin().get());
  std::map<Node, bool, Later> seen;
  std::vector<Node> open;
  for (const Tensor& y : outputs)
    if (y.origin() && seen.emplace(y.origin(), true).second) open.push_back(y.origin());
  while (!open.empty()) {
    const Node node = open.back();
    open.pop_back();
    for (const Source& source : node->inputs)
      if (source.origin && seen.emplace(source.origin, true).second) open.push_back(source.origin);
  }
  for (auto node = seen.rbegin(); node != seen.rend(); ++node)  // the forward pass's order
    for (const Source& source : node->first->inputs)
      if (source.origin && useful.count(source.origin.get())) useful.insert(node->first.get());
  return useful;
}

/// Whether the value depends on leaves other than these.
bool reaches_beyond(const Tensor& value, const std::vector<Tensor>& own_leaves) {
  std::set<const Origin*> seen;
  for (const Tensor& x : own_leaves) seen.insert(x.origin().get());
  std::vector<Node> open;
  if (value.origin() && seen.insert(value.origin().get()).second) open.push_back(value.origin());
  while (!open.empty()) {
    const Node node = open.back();
    open.pop_back();
    if (node->inputs.empty()) return true;
    for (const Source& source : node->inputs)
      if (source.origin && seen.insert(source.origin.get()).second) open.push_back(source.origin);
  }
  return false;
}

}  // namespace

std::vector<Tensor> gradients(const Ops& ops, const std::vector<Tensor>& outputs, const std::vector<Tensor>& cotangents,
                              const std::vector<Tensor>& of) {
  if (outputs.size() != cotangents.size())
    fail("cotangents", std::to_string(outputs.size()) + " tensors", std::to_string(cotangents.size()));
  for (const Tensor& x : of)
    if (!x.origin()) fail("of", "tensors that gradients are wanted of", "one without an origin");
  const auto useful = path(outputs, of);
  Arrived arrived;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    need(cotangents[i], DType::f32, "cotangent");
    if (cotangents[i].shape() != outputs[i].shape()) fail("cotangent", outputs[i].shape().text(), cotangents[i].shape().text());
    if (outputs[i].origin() && useful.count(outputs[i].origin().get()))
      arrive(ops, arrived, {outputs[i].origin(), outputs[i].place()}, cotangents[i]);
  }
  std::map<std::pair<const Origin*, int>, Tensor> found;
  for (const Tensor& x : of) found[{x.origin().get(), x.place()}];
  while (!arrived.empty()) {
    const auto [node, given] = *arrived.begin();
    arrived.erase(arrived.begin());
    for (std::size_t place = 0; place < given.size(); ++place)
      if (const auto at = found.find({node.get(), int(place)}); at != found.end()) at->second = given[place];
    if (node->inputs.empty()) continue;
    std::vector<Tensor> back;
    if (node->step) {
      if (!useful.count(node->inputs[0].origin.get())) continue;
      back = {step_back(ops, *node->step, given[0])};
    } else {
      auto all = given;
      all.resize(std::max<std::size_t>(all.size(), 8));
      back = node->derivative(Pull(ops, node, all).recording(ops.recording()));
    }
    for (std::size_t i = 0; i < node->inputs.size() && i < back.size(); ++i)
      if (back[i].defined() && node->inputs[i].origin && useful.count(node->inputs[i].origin.get()))
        arrive(ops, arrived, node->inputs[i], back[i]);
  }
  std::vector<Tensor> result;
  for (const Tensor& x : of) {
    const Tensor& g = found[{x.origin().get(), x.place()}];
    result.push_back(g.defined() ? g : Tensor::zeros(DType::f32, x.shape()));
  }
  return result;
}

Tensor Ops::no_gradient(const Tensor& x, const char*) const { return x.with_origin(nullptr); }

Tensor Ops::straight_through(const Tensor& value, const Tensor& x) const {
  if (value.shape() != x.shape()) fail("value", x.shape().text(), value.shape().text());
  return record("straight_through", value.with_origin(nullptr), {&x}, [](const Pull& p) -> std::vector<Tensor> { return {p.gradient()}; });
}

std::vector<Tensor> Ops::gradient(const std::function<Tensor(const Ops&, const std::vector<Tensor>&)>& f,
                                  const std::vector<Tensor>& at) const {
  std::vector<Tensor> here, own_leaves;
  for (const Tensor& x : at) {
    here.push_back(x.origin() ? Ops(context_).straight_through(x, x) : leaf(x));  // apart: one may be made from another
    if (!x.origin()) own_leaves.push_back(here.back());
  }
  const Tensor value = f(Ops(context_, true), here);
  if (value.count() != 1) fail("f", "one number", value.shape().text());
  const bool again = recording_ && reaches_beyond(value, own_leaves);
  auto result = gradients(Ops(context_, again), {value}, {full(value.shape(), 1)}, here);
  if (!again)
    for (Tensor& g : result) g = g.with_origin(nullptr);
  return result;
}

bool Ops::wanted(std::span<const Tensor* const> inputs) const {
  if (!recording_) return false;
  for (const Tensor* x : inputs)
    if (x->origin()) return true;
  return false;
}

void Ops::record(const char* op, std::initializer_list<Tensor*> outs, const std::vector<const Tensor*>& inputs,
                 const Derivative& derivative, bool keeps) const {
  if (!wanted(inputs)) return;
  std::vector<Source> sources;
  for (const Tensor* x : inputs) sources.push_back({x->origin(), x->place()});
  auto origin = std::make_shared<Origin>(op, std::move(sources), derivative);
  int place = 0;
  for (Tensor* out : outs) {
    if (keeps) origin->kept.push_back(out->with_origin(nullptr));
    *out = out->with_origin(origin, place++);
  }
}

}  // namespace v0
}  // namespace heed
