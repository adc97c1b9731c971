// SPDX-License-Identifier: Apache-2.0
// Lists, merging and segments as ops: values, and gradients through the tape.
#include "heed/ops.h"
#include "lists_problem.h"

namespace heed {
namespace {
using namespace lists_test;

/// The fused op and its plain form: values, and gradients through the tape.
TEST(ListOps, FusedEqualsPlain) {
  Random r(6);
  const Context context;
  const Ops ops(context);
  for (int round = 0; round < 150; ++round) {
    const Problem p = problem(r);
    if (p.N == 0) continue;
    const unsigned extras = (p.options.softmax && r.chance(50) ? want_lse : 0u) | (r.chance(50) ? want_weights : 0u);
    std::vector<Tensor> of;
    ListTensors tensors;
    Tensor* to[] = {&tensors.q, &tensors.k, &tensors.v, &tensors.source, &tensors.target, &tensors.att, &tensors.bias, &tensors.features};
    for (int i = 0; i < inputs_count; ++i)
      if (p.inputs[i].defined()) of.push_back(*to[i] = leaf(p.inputs[i]));
    const Attended fused = ops.attend_lists(tensors, p.lists, p.options, extras),
                   plain = ops.attend_lists_plain(tensors, p.lists, p.options, extras);
    std::vector<Tensor> left, right, cotangents;
    for (const auto& [a, b] : {std::pair{fused.out, plain.out}, {fused.lse, plain.lse}, {fused.weights, plain.weights}}) {
      if (!a.defined()) continue;
      expect_near(ops.no_gradient(a, "a test"), values(ops.no_gradient(b, "a test")), 1e-5, "value");
      left.push_back(a), right.push_back(b), cotangents.push_back(r.floats(a.shape()));
    }
    const auto got = gradients(Ops(context, false), left, cotangents, of), want = gradients(Ops(context, false), right, cotangents, of);
    for (std::size_t i = 0; i < of.size(); ++i) expect_near(got[i], values(want[i]), 1e-4, "gradient " + std::to_string(i));
    if (HasFailure()) return;
  }
  const Problem p = problem(r);
  ListTensors tensors{leaf(Tensor::of({1, 2}, {1, 1, 2})), Tensor::of({3, 4}, {1, 1, 2}), Tensor::of({1}, {1, 1, 1})};
  const Lists lists{integers({0, 1}), integers({0}), {}, -1};
  const auto twice = [&] {
    ops.gradient(
        [&](const Ops& o, const std::vector<Tensor>& x) {
          ListTensors here = tensors;
          here.v = x[0];
          return o.sum(o.attend_lists(here, lists).out, {0, 1, 2});
        },
        {leaf(tensors.v)});
  };
  EXPECT_THROW(twice(), Error);
}

TEST(ListOps, SegmentsEqualLoops) {
  Random r(7);
  const Context context;
  const Ops ops(context);
  for (int round = 0; round < 60; ++round) {
    const std::int64_t E = r.whole(0, 40), segments = r.whole(1, 6), inner = r.whole(1, 5);
    const Tensor x = leaf(r.floats({E, inner})), d = r.floats({segments, inner}), d_edges = r.floats({E, inner});
    std::vector<std::int64_t> ids;
    for (std::int64_t e = 0; e < E; ++e) ids.push_back(r.whole(0, segments - 1));
    const Tensor segment = integers(ids);
    const Doubles in = values(ops.no_gradient(x, "a test")), by = values(d), by_edges = values(d_edges);
    const auto at = [&](std::size_t e, std::int64_t i) { return e * std::size_t(inner) + std::size_t(i); };
    Doubles sum(std::size_t(segments * inner)), mean(sum), top(sum.size(), -inf), weights(in.size()), d_sum(in.size()), d_mean(in.size()),
        d_top(in.size()), d_weights(in.size());
    for (std::int64_t i = 0; i < inner; ++i)
      for (std::int64_t s = 0; s < segments; ++s) {
        const std::size_t to = at(std::size_t(s), i);
        double count = 0, total = 0, dot = 0;
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) sum[to] += in[at(e, i)], top[to] = std::max(top[to], in[at(e, i)]), count += 1;
        mean[to] = count > 0 ? sum[to] / count : 0;
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) total += std::exp(in[at(e, i)] - top[to]);
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) weights[at(e, i)] = std::exp(in[at(e, i)] - top[to]) / total, dot += weights[at(e, i)] * by_edges[at(e, i)];
        for (std::size_t e = 0; e < ids.size(); ++e)
          if (ids[e] == s) {
            d_sum[at(e, i)] = by[to], d_mean[at(e, i)] = by[to] / count, d_top[at(e, i)] = in[at(e, i)] == top[to] ? by[to] : 0;
            d_weights[at(e, i)] = weights[at(e, i)] * (by_edges[at(e, i)] - dot);
          }
      }
    const auto check = [&](const Tensor& got, const Doubles& want, const Tensor& along, const Doubles& back, const char* what) {
      expect_near(ops.no_gradient(got, "a test"), want, 1e-5, what);
      expect_near(gradients(Ops(context, false), {got}, {along}, {x})[0], back, 1e-5, std::string("gradient of ") + what);
    };
    check(ops.segment_sum(x, segment, segments), sum, d, d_sum, "sum");
    check(ops.segment_mean(x, segment, segments), mean, d, d_mean, "mean");
    check(ops.segment_max(x, segment, segments), top, d, d_top, "max");
    check(ops.segment_softmax(x, segment, segments), weights, d_edges, d_weights, "softmax");
  }
  EXPECT_THROW(ops.segment_sum(r.floats({2, 1}), integers({0, 3}), 3), Error);
}

/// Halves of the keys, and an empty part, merged: value and gradient of the whole.
TEST(ListOps, MergeEqualsTheUnion) {
  Random r(8);
  const Context context;
  const Ops ops(context);
  const Tensor q = leaf(r.floats({2, 5, 4, 8})), k = leaf(r.floats({2, 9, 2, 8})), v = leaf(r.floats({2, 9, 2, 6})),
               d = r.floats({2, 5, 4, 6}), d_lse = r.floats({2, 4, 5});
  const auto part = [&](std::int64_t begin, std::int64_t count) {
    return ops.attend(q, k.slice(1, begin, count), v.slice(1, begin, count), {}, want_lse);
  };
  const Attended whole = part(0, 9), merged = ops.merge(ops.merge(part(0, 4), part(4, 0)), part(4, 5));
  expect_near(ops.no_gradient(merged.out, "a test"), values(ops.no_gradient(whole.out, "a test")), 1e-6, "out");
  expect_near(ops.no_gradient(merged.lse, "a test"), values(ops.no_gradient(whole.lse, "a test")), 1e-6, "lse");
  const auto back = [&](const Attended& a) { return gradients(Ops(context, false), {a.out, a.lse}, {d, d_lse}, {q, k, v}); };
  const auto got = back(merged), want = back(whole);
  for (std::size_t i = 0; i < 3; ++i) expect_near(got[i], values(want[i]), 1e-5, "gradient " + std::to_string(i));
}

}  // namespace
}  // namespace heed
