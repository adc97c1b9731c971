// SPDX-License-Identifier: Apache-2.0
#include "engine/lists.h"

#include <cmath>
#include <cstring>

namespace heed {
namespace engine {
const float* floats_of(const ListCall& c, const Table3& table, std::int64_t i, std::int64_t h, const Buffer& scratch) {
  if (table.dtype == DType::f32) return table.floats(i, h);
  View view;
  view.data = const_cast<void*>(table.at(i, h));
  view.dtype = table.dtype;
  read_row(kernel::table_of(c.context.isa), view, 0, 1, table.width, scratch.get());
  return scratch.get();
}

void prefetch(const Table3& table, const std::int64_t* index, std::int64_t n) {
  constexpr std::int64_t line = 64, most_rows = 64, most_bytes = 16 * line;
  if (!table) return;
  const std::int64_t bytes = std::min(table.heads * table.width * std::int64_t(size_of(table.dtype)), most_bytes);
  for (std::int64_t e = 0; e < std::min(n, most_rows); ++e) {
    const char* row = static_cast<const char*>(table.at(index[e], 0));
    for (std::int64_t at = 0; at < bytes; at += line) __builtin_prefetch(row + at);
  }
}

void clear(const View& view) {
  const std::int64_t width = view.rank() == 3 ? view.extent(2) : 1, step = view.rank() == 3 ? view.stride(2) : 1;
  const std::vector<float> zeros(std::size_t(width), 0.0f);
  for (std::int64_t i = 0; i < view.extent(0); ++i)
    for (std::int64_t h = 0; h < view.extent(1); ++h)
      write_row(kernel::plain_table, view, i * view.stride(0) + h * view.stride(1), step, width, zeros.data());
}

void list_scores(const ListCall& c, std::int64_t h, std::int64_t i, ListScratch& scratch) {
  const Csr::Span span = c.lists.of(h, i);
  const std::int64_t g = c.group(h), column = c.column(h);
  const kernel::Picked bias = c.lists.edges(c.bias, column, span), features = c.lists.edges(c.features, column, span);
  float* s = scratch.scores.get();
  const auto add_bias = [&](bool adding) {
    c.loops->gather(static_cast<const float*>(bias.rows), bias.stride, bias.index, span.size, adding, s);
  };
  switch (c.options.score) {
    case ListScore::dot: {
      const float* q = floats_of(c, c.q, i, h, scratch.query);
      c.loops->rows(c.k.dtype).dot(q, c.lists.keys(c.k, g, span), c.D, c.scale, false, s);
      if (c.features) c.loops->f32.dot(q, features, c.D, c.scale, true, s);
      if (c.bias) add_bias(true);
      return;
    }
    case ListScore::leaky: {
      const float* q = floats_of(c, c.q, i, h, scratch.query);
      c.loops->rows(c.k.dtype).leaky_dot(c.att.floats(h, 0), q, c.lists.keys(c.k, g, span), features, c.D, c.options.negative_slope, s);
      if (c.bias) add_bias(true);
      return;
    }
    case ListScore::additive: {
      const kernel::Picked source = c.lists.keys(c.source, h, span);
      const float target = *c.target.floats(i, h);
      std::fill(s, s + span.size, target);
      c.loops->gather(static_cast<const float*>(source.rows), source.stride, source.index, span.size, true, s);
      if (c.bias) add_bias(true);
      std::memcpy(scratch.raw.get(), s, std::size_t(span.size) * sizeof(float));
      return c.loops->leaky(s, span.size, c.options.negative_slope);
    }
    case ListScore::edge:
      return add_bias(false);
  }
}

}  // namespace engine

inline namespace v0 {

void attend_lists(const ListInputs& inputs, const Lists& lists, const ListOutputs& outputs, const ListOptions& options,
                  const Context& context) {
  using namespace engine;
  const ListCall c = check_lists(inputs, lists, options, context);
  if (outputs.out) {
    if (!c.v) fail("out", "v to read", "no v");
    want_view("out", *outputs.out, {c.N, c.H, c.W}, false, true);
    if (outputs.out->dtype != DType::f32 && outputs.out->dtype != c.v.dtype) fail("out", name_of(c.v.dtype), name_of(outputs.out->dtype));
  }
  if (outputs.lse && !options.softmax) fail("lse", "softmax", "scores as weights");
  if (outputs.lse) want_view("lse", *outputs.lse, {c.N, c.H}, true, true);
  if (outputs.weights) want_view("weights", *outputs.weights, {c.lists.rows, c.columns()}, true, true);

  const Ranges ranges(c.lists);
  const std::int64_t longest = c.lists.longest();
  std::vector<std::unique_ptr<ListScratch>> scratches(std::size_t(base::thread_count(context.threads)));
  if (outputs.weights && c.lists.rows > c.lists.entries) clear(*outputs.weights);

  ranges.run(context.threads, [&](std::int64_t, std::int64_t first, std::int64_t last, int worker) {
    auto& scratch = scratches[std::size_t(worker)];
    if (!scratch) scratch = std::make_unique<ListScratch>(longest, std::max(c.D, c.W));
    float *s = scratch->scores.get(), *row = scratch->row.get();
    for (std::int64_t i = first; i < last; ++i) {
      c.prefetch_keys(i + 1);
      for (std::int64_t h = 0; h < c.H; ++h) {
        const Csr::Span span = c.lists.of(h, i);
        list_scores(c, h, i, *scratch);
        float max = 0, sum = 0;
        if (options.softmax) c.loops->softmax(s, span.size, &max, &sum);
        if (outputs.lse) {
          const View& lse = *outputs.lse;
          static_cast<float*>(lse.data)[i * lse.stride(0) + h * lse.stride(1)] = sum == 0 ? -infinity : max + std::log(sum);
        }
        if (outputs.weights) {
          const View& w = *outputs.weights;
          float* to = static_cast<float*>(w.data) + c.column(h) * w.stride(1);
          for (std::int64_t e = 0; e < span.size; ++e) to[c.lists.edge_of(span.begin + e) * w.stride(0)] = s[e];
        }
        if (!outputs.out) continue;
        const View& out = *outputs.out;
        std::memset(row, 0, std::size_t(c.W) * sizeof(float));
        c.loops->rows(c.v.dtype).add(s, c.lists.keys(c.v, c.group(h), span), c.W, row);
        write_row(kernel::table_of(c.context.isa), out, i * out.stride(0) + h * out.stride(1), out.stride(2), c.W, row);
      }
    }
  });
}

}  // namespace v0
}  // namespace heed
