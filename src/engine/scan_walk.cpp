// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "engine/scan.h"

namespace heed::engine {
namespace {

Buffer zeros(std::int64_t count) {
  Buffer buffer(count);
  std::memset(buffer.get(), 0, std::size_t(count) * sizeof(float));
  return buffer;
}

void fetch(const void* row, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(row) + i, 0, 2);
}
void fetch(const View& view, std::int64_t offset, std::int64_t n) {
  const auto size = std::int64_t(size_of(view.dtype));
  if (view.strides[3] == 1) fetch(static_cast<const char*>(view.data) + offset * size, n * size);
}

constexpr int group = 6;  ///< rows of scores that are computed together

}  // namespace

Walk::Walk(const ScanCall& the_call, std::int64_t first_column, std::int64_t last_column, bool with_sum)
    : call(the_call),
      first(first_column),
      columns(last_column - first_column),
      width(up16(columns + with_sum)),
      depth(the_call.depth()),
      stride(up16(the_call.chunk)),
      rows(the_call.chunk == 1 ? 1 : stride),
      sum(with_sum) {
  q = zeros(rows * depth), k = zeros(rows * depth), u = zeros(rows * width);
  if (rows > 1) keys = Buffer(rows * depth), scores = Buffer(rows * stride);
  if (call.delta) back = zeros(rows * depth), solver = Buffer(rows * stride);
  start = Buffer(depth), ups = Buffer(up16(rows * per_token())), downs = Buffer(up16(rows * per_token()));
  betas.resize(std::size_t(rows));
  growth.resize(std::size_t(up16(rows * per_token())));
}

void Walk::open(std::int64_t batch, bool reverse) {
  b = batch, reversed = reverse, place = 0, count = 0;
  if (!call.decays) std::fill_n(start.get(), depth, 1.0f);
}

void Walk::turn(std::int64_t head, float* the_carry) { h = head, carry = the_carry; }

/// How many tokens the chunk takes; fills growth and start.
int Walk::grow(std::int64_t s, int most) {
  const int here = int(std::min<std::int64_t>(most, call.length(b) - s));
  if (!call.decays) return here;
  const std::int64_t each = per_token();
  for (int i = 0; i < here; ++i) {
    const float* g = call.decay.at<float>(b, token(i), h, 0);
    float* sums = growth.data() + i * each;
    if (i == 0) {
      std::fill_n(sums, each, 0.0f);
      for (std::int64_t d = 0; d < depth; ++d) start.get()[d] = d < call.D ? carry[d] + g[call.channels ? d * call.decay.m : 0] : 0;
      continue;
    }
    bool small = true;
    if (call.channels) {
      if (call.decay.m == 1)
        std::memcpy(sums, g, std::size_t(call.D) * sizeof(float));
      else
        for (std::int64_t d = 0; d < call.D; ++d) sums[d] = g[d * call.decay.m];
      small = call.loops->add_small(sums - each, sums, growth_limit, each, sums);
    } else {
      *sums = sums[-1] + *g;
      small = std::abs(*sums) <= growth_limit;
    }
    if (!small) return i;
  }
  return here;
}

void Walk::load(std::int64_t s, int most) {
  place = s;
  count = grow(s, std::min(most, call.chunk));
  const std::int64_t D = call.D, G = h / call.share;
  if (call.decays) {
    call.loops->exp(start.get(), depth, start.get());
    const std::int64_t all = up16(count * per_token());
    call.loops->scale(growth.data(), -1.0f, all, downs.get());
    call.loops->exp(growth.data(), all, ups.get());
    call.loops->exp(downs.get(), all, downs.get());
  }
  for (int i = 0; i < count; ++i) {
    const std::int64_t t = token(i);
    float *query = q.get() + i * depth, *key = k.get() + i * depth, *value = u.get() + i * width;
    read_row(*call.table, call.q, at(call.q, b, t, h), call.q.strides[3], D, query);
    read_row(*call.table, call.k, at(call.k, b, t, G), call.k.strides[3], D, key);
    read_row(*call.table, call.v, at(call.v, b, t, G) + first * call.v.strides[3], call.v.strides[3], columns, value);
    if (sum) value[columns] = 1;
    if (call.delta) {
      float* other = back.get() + i * depth;
      if (call.decays) times(key, up(i), other);
      call.loops->scale(call.decays ? other : key, -1.0f, depth, other);
      betas[std::size_t(i)] = *call.beta.at<float>(b, t, h, 0);
    }
    if (call.decays) {
      times(query, up(i), query);
      times(key, down(i), key);
    }
    if (call.options.scale != 1.0f) call.loops->scale(query, call.options.scale, depth, query);
  }
  if (count == 1) return;
  const std::int64_t whole = up16(count);
  std::memset(k.get() + count * depth, 0, std::size_t((whole - count) * depth) * sizeof(float));
  for (std::int64_t i = 0; i < whole; i += 16) call.table->transpose(k.get() + i * depth, depth, depth, keys.get() + i * depth);
}

void Walk::foresee(std::int64_t from, std::int64_t to, std::int64_t first_head, std::int64_t last_head) const {
  for (std::int64_t s = from; s < std::min(to, call.length(b)); ++s) {
    const std::int64_t t = reversed ? call.length(b) - 1 - s : s;
    for (std::int64_t i = first_head; i < last_head; ++i) {
      fetch(call.q, at(call.q, b, t, i), call.D);
      if (call.channels && call.decay.n != 0 && call.decay.m == 1)
        fetch(call.decay.at<float>(b, t, i, 0), call.D * std::int64_t(sizeof(float)));
      if (i % call.share != 0 && i > first_head) continue;
      fetch(call.k, at(call.k, b, t, i / call.share), call.D);
      fetch(call.v, at(call.v, b, t, i / call.share) + first * call.v.strides[3], columns);
    }
  }
}

std::int64_t Walk::advance() {
  if (call.decays)
    for (std::int64_t d = 0; d < call.D; ++d) carry[d] = growth[std::size_t((count - 1) * per_token() + (call.channels ? d : 0))];
  return place + count;
}

void Walk::times(const float* x, const float* factors, float* to) const {
  if (call.channels)
    call.loops->multiply(x, factors, depth, to);
  else
    call.loops->scale(x, *factors, depth, to);
}

void Walk::begin(float* state) const {
  if (!call.decays) return;
  for (std::int64_t d = 0; d < call.D; ++d) call.loops->scale(state + d * width, start.get()[d], width, state + d * width);
}

void Walk::score(const float* left, bool strict, float* to) const {
  for (int r = 0; r < count; r += group) {
    const int here = std::min(group, count - r), last = r + here;
    call.loops->product(here, (last + 15) / 16, call.D, {left + r * depth, depth, 1}, {keys.get(), 16, 16 * depth},
                        {to + r * stride, stride, 16}, false);
    for (int i = r; i < last; ++i) std::fill(to + i * stride + i + !strict, to + i * stride + up16(last), 0.0f);
  }
}

void Walk::solve(const float* state, float* bracket) {
  const int panels = int(width / 16);
  float* x = u.get();
  call.loops->product(count, panels, call.D, {back.get(), depth, 1}, {state, width, 16}, {x, width, 16}, true);
  if (count > 1) score(back.get(), true, solver.get());
  for (int r = 0; r < count; r += group) {
    const int here = std::min(group, count - r);
    if (r > 0)
      call.loops->product(here, panels, r, {solver.get() + r * stride, stride, 1}, {x, width, 16}, {x + r * width, width, 16}, true);
    for (int i = r; i < r + here; ++i) {
      float* row = x + i * width;
      for (int j = r; j < i; ++j) call.loops->add_scaled(x + j * width, solver.get()[i * stride + j], width, row);
      if (bracket) std::memcpy(bracket + i * width, row, std::size_t(width) * sizeof(float));
      call.loops->scale(row, betas[std::size_t(i)], width, row);
    }
  }
}

void Walk::read(const float* state, bool exclusive, float* o) {
  const int panels = int(width / 16);
  score(q.get(), exclusive, scores.get());
  call.loops->product(count, panels, call.D, {q.get(), depth, 1}, {state, width, 16}, {o, width, 16}, false);
  for (int r = 0; r < count; r += group) {
    const int here = std::min(group, count - r);
    call.loops->product(here, panels, r + here, {scores.get() + r * stride, stride, 1}, {u.get(), width, 16}, {o + r * width, width, 16},
                        true);
  }
}

void Walk::absorb(float* state) const {
  call.loops->product(int(call.D), int(width / 16), count, {k.get(), 1, depth}, {u.get(), width, 16}, {state, width, 16}, true);
}

void read_state(const Walk& walk, const std::optional<View>& state, const std::optional<View>& sum, float* to) {
  std::memset(to, 0, std::size_t(walk.depth * walk.width) * sizeof(float));
  for (std::int64_t d = 0; d < walk.call.D; ++d) {
    float* row = to + d * walk.width;
    if (state) {
      const auto& s = state->strides;
      read_row(*walk.call.table, *state, at(*state, walk.b, walk.h, d) + walk.first * s[3], s[3], walk.columns, row);
    }
    if (walk.sum && sum) row[walk.columns] = static_cast<const float*>(sum->data)[at(*sum, walk.b, walk.h, d)];
  }
}

void write_state(const Walk& walk, const std::optional<View>& state, const std::optional<View>& sum, const float* from) {
  for (std::int64_t d = 0; d < walk.call.D; ++d) {
    const float* row = from + d * walk.width;
    if (state) {
      const auto& s = state->strides;
      write_row(*walk.call.table, *state, at(*state, walk.b, walk.h, d) + walk.first * s[3], s[3], walk.columns, row);
    }
    if (walk.sum && sum) static_cast<float*>(sum->data)[at(*sum, walk.b, walk.h, d)] = row[walk.columns];
  }
}

}  // namespace heed::engine
