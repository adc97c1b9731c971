// SPDX-License-Identifier: Apache-2.0
#include "mechanism/mixer.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernel/rows.h"

namespace heed::mechanism {
namespace {

constexpr std::int64_t window_block = 512;  ///< queries at a time; the slack of a window's buffer while it reads
constexpr std::int64_t window_slack = 128;  ///< tokens beyond the window that may stay, so that decoding rarely moves memory

/// The smaller of two windows, -1 being none.
std::int64_t narrower(std::int64_t a, std::int64_t b) { return a < 0 ? b : b < 0 ? a : std::min(a, b); }

View rows(const View& x, std::int64_t from, std::int64_t length) { return Tensor(x, std::make_shared<int>()).slice(1, from, length); }

struct WindowCache : Mixer::State {
  WindowCache(const Layer& layer, std::int64_t sinks, std::int64_t window)
      : left(window),
        first(layer.kept, sinks, layer.kv_heads, layer.key_width, layer.value_width),
        last(layer.kept, std::min(layer.capacity, left + window_block + window_slack), layer.kv_heads, layer.key_width, layer.value_width) {
  }
  std::int64_t bytes() const override { return first.bytes() + last.bytes(); }
  std::int64_t left;
  cache::KeyValues first, last;
};

/// a (1, n, H, E), whose log-sum-exp lies at lse_a + h lda, and b over other keys: the result over both sets of keys, in a.
void merge(const View& a, const float* lse_a, std::int64_t lda, const Tensor& b, const Tensor& lse_b, const Context& context) {
  const std::int64_t n = a.extent(1), H = a.extent(2), E = a.extent(3);
  const auto& loops = kernel::rows_of(context.isa);
  base::parallel(context.threads, n, [&](std::int64_t i, int) {
    for (std::int64_t h = 0; h < H; ++h) {
      const float la = lse_a[h * lda + i], lb = lse_b.data<float>()[h * n + i];
      const float top = std::max(la, lb), wa = std::exp(la - top), wb = std::exp(lb - top), sum = wa + wb;
      loops.blend(static_cast<float*>(a.data) + i * a.stride(1) + h * a.stride(2), wa / sum, b.data<float>() + (i * H + h) * E, wb / sum,
                  E);
    }
  });
}

}  // namespace

void attend_rounded(const Tensor& q, const Tensor& k, const Tensor& v, const View& out, const AttendOptions& options, const Ops& ops,
                    const AttendExtras& extras) {
  heed::attend(cache::rounded(q, k.dtype(), ops.context()), k, v, out, options, extras, ops.context());
}

void CachedMixer::read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) {
  auto& full = static_cast<FullCache&>(state);
  full.kv.append(k, v, ops.context());
  AttendOptions o = mixing();
  o.causal = true, o.window_right = -1;
  o.window_left = narrower(o.window_left, full.layer.window_left);
  const std::int64_t from = o.window_left < 0 ? 0 : std::max<std::int64_t>(0, first - o.window_left) / key_block() * key_block();
  const std::int64_t keys = full.kv.size() - from;
  mix_chunk(o, {first, q.extent(1), from, keys, q.extent(2)});
  attend_rounded(q, full.kv.keys(from, keys), full.kv.values(from, keys), out, o, ops);
}

void PromptMixer::read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) {
  if (first > 0) return CachedMixer::read(state, q, k, v, first, out, ops);
  auto& full = static_cast<FullCache&>(state);
  if (full.layer.window_left >= 0) fail("way", "a model without a sliding window for a way that reads the whole prompt", "one with");
  full.kv.append(k, v, ops.context());
  const Tensor got = read_prompt(q, k, v, full.kv.dtype(), ops);
  const std::int64_t n = q.extent(1), H = q.extent(2), E = v.extent(3);
  base::parallel(ops.context().threads, n, [&](std::int64_t i, int) {
    for (std::int64_t h = 0; h < H; ++h)
      std::copy_n(got.data<float>() + i * got.stride(1) + h * got.stride(2), E,
                  static_cast<float*>(out.data) + i * out.stride(1) + h * out.stride(2));
  });
}

std::unique_ptr<Mixer::State> WindowMixer::open(const Layer& layer) {
  const Look l = look();
  if (l.options.weighting == Weighting::relu)
    fail("parameter weighting", "another than relu, whose weights depend on the keys that were left behind", "relu");
  if (l.sinks > 0 && l.options.weighting != Weighting::softmax)
    fail("parameter weighting", "softmax, since sinks and window are merged", "another");
  const std::int64_t own = narrower(l.left, layer.window_left), left = own < 0 ? layer.capacity : std::min(own, layer.capacity);
  return std::make_unique<WindowCache>(layer, std::min(l.sinks, layer.capacity), left);
}

void WindowMixer::read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) {
  auto& kept = static_cast<WindowCache&>(state);
  const std::int64_t sinks = kept.first.capacity(), left = kept.left, n = q.extent(1), H = q.extent(2), E = v.extent(3);
  AttendOptions o = look().options;
  o.window_right = -1;
  for (std::int64_t at = 0; at < n; at += window_block) {
    const std::int64_t count = std::min(window_block, n - at), p = first + at, here = std::min(count, std::max<std::int64_t>(0, sinks - p));
    if (here > 0) kept.first.append(k.slice(1, at, here), v.slice(1, at, here), ops.context());
    if (kept.last.size() + count > kept.last.capacity()) kept.last.erase(0, kept.last.size() - left);
    kept.last.append(k.slice(1, at, count), v.slice(1, at, count), ops.context());
    const Tensor queries = q.slice(1, at, count);
    const View to = rows(out, at, count);
    o.causal = true, o.window_left = left;
    const std::int64_t keys = std::min(kept.last.size(), left + count), from = kept.last.size() - keys;
    // Queries whose window has left the start behind see sinks j <= p - left - 1 besides.
    const std::int64_t past = std::min(count, std::max<std::int64_t>(0, p + count - 1 - left));
    const bool merging = sinks > 0 && past > 0;
    const Tensor lse = merging ? Tensor(DType::f32, {1, H, count}) : Tensor();
    AttendExtras extras;
    if (merging) extras.lse = lse.view();
    attend_rounded(queries, kept.last.keys(from, keys), kept.last.values(from, keys), to, o, ops, extras);
    if (merging) {
      o.window_left = -1;
      const auto add = [&](std::int64_t row, std::int64_t length, std::int64_t seen, bool causal) {
        const Tensor part(DType::f32, {1, length, H, E}), part_lse(DType::f32, {1, H, length});
        AttendExtras both;
        both.lse = part_lse.view();
        o.causal = causal;
        attend_rounded(queries.slice(1, row, length), kept.first.keys(0, seen), kept.first.values(0, seen), part, o, ops, both);
        merge(rows(to, row, length), lse.data<float>() + row, count, part, part_lse, ops.context());
      };
      const std::int64_t row = count - past, stairs = std::clamp<std::int64_t>(left + sinks - (p + row), 0, past);
      if (stairs > 0) add(row, stairs, p + row + stairs - 1 - left, true);
      if (past > stairs) add(row + stairs, past - stairs, sinks, false);
    }
    if (kept.last.size() > left + window_slack) kept.last.erase(0, kept.last.size() - left);
  }
}

}  // namespace heed::mechanism
