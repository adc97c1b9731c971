// SPDX-License-Identifier: Apache-2.0
#include "heed/attend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Sizes {
  std::int64_t B, N, H, D, M, G, E;
};

Sizes sizes_of(const Tensor& q, const Tensor& k, const Tensor& v) {
  if (!q.defined() || q.rank() != 4) fail("q", "[B, N, H, D]", q.defined() ? q.shape().text() : "none");
  if (!k.defined() || k.rank() != 4) fail("k", "[B, M, G, D]", k.defined() ? k.shape().text() : "none");
  if (!v.defined() || v.rank() != 4) fail("v", "[B, M, G, E]", v.defined() ? v.shape().text() : "none");
  return {q.extent(0), q.extent(1), q.extent(2), q.extent(3), k.extent(1), k.extent(2), v.extent(3)};
}

void need_own_terms(const AttendOptions& options) {
  if (options.bias || options.alibi_slopes || options.sink) fail("options", "bias, alibi_slopes and sink given as terms", "a view");
}

AttendOptions with_terms(AttendOptions options, const ScoreTerms& terms) {
  need_own_terms(options);
  if (terms.bias.defined()) options.bias = terms.bias.raw_view();
  if (terms.alibi_slopes.defined()) options.alibi_slopes = terms.alibi_slopes.raw_view();
  if (terms.sink.defined()) options.sink = terms.sink.raw_view();
  return options;
}

std::int64_t length(const std::optional<View>& lengths, std::int64_t b, std::int64_t all) {
  return lengths ? static_cast<const std::int64_t*>(lengths->data)[b * lengths->stride(0)] : all;
}

/// (B or 1, H or 1, N, M): the pairs that every condition of the options lets through.
Tensor visible(const AttendOptions& o, const Sizes& s) {
  const bool ragged = o.key_lengths || o.query_lengths;
  const bool by_batch = ragged || (o.mask && o.mask->rank() == 4) || o.blocks, by_head = o.mask || o.blocks;
  const Shape shape{by_batch ? s.B : 1, by_head ? s.H : 1, s.N, s.M};
  const auto stretched = [](const View& view, const Shape& to) { return Tensor(view, std::make_shared<int>()).broadcast(to); };
  Tensor given, keep;
  if (o.mask) given = stretched(*o.mask, shape);
  if (o.blocks) {
    const auto parts = [](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
    keep = stretched(o.blocks->keep, {shape[0], shape[1], parts(s.N, o.blocks->query_block), parts(s.M, o.blocks->key_block)});
  }
  const auto at = [](const Tensor& x, std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) {
    return x.raw<std::uint8_t>()[b * x.stride(0) + h * x.stride(1) + i * x.stride(2) + j * x.stride(3)] != 0;
  };
  Tensor mask(DType::boolean, shape);
  auto* to = mask.raw<std::uint8_t>();
  for (std::int64_t b = 0; b < shape[0]; ++b)
    for (std::int64_t h = 0; h < shape[1]; ++h)
      for (std::int64_t i = 0; i < s.N; ++i)
        for (std::int64_t j = 0; j < s.M; ++j) {
          const std::int64_t keys = length(o.key_lengths, b, s.M), queries = length(o.query_lengths, b, s.N), p = i + keys - queries;
          const bool left = o.window_left < 0 || j >= p - o.window_left || j < o.first_keys;
          bool see = i < queries && j < keys && (!o.causal || j <= p) && left && (o.window_right < 0 || j <= p + o.window_right) &&
                     (p - j) % o.dilation == 0;
          see = see && (!o.mask || at(given, b, h, i, j));
          *to++ = see && (!o.blocks || at(keep, b, h, i / o.blocks->query_block, j / o.blocks->key_block));
        }
  return mask;
}

/// -|p - j|: (B or 1, 1, N, M).
Tensor distances(const AttendOptions& o, const Sizes& s) {
  const std::int64_t batch = o.key_lengths || o.query_lengths ? s.B : 1;
  Tensor table(DType::f32, {batch, 1, s.N, s.M});
  float* to = table.raw<float>();
  for (std::int64_t b = 0; b < batch; ++b)
    for (std::int64_t i = 0; i < s.N; ++i)
      for (std::int64_t j = 0; j < s.M; ++j)
        *to++ = -float(std::abs(i + length(o.key_lengths, b, s.M) - length(o.query_lengths, b, s.N) - j));
  return table;
}

/// Whether exp(score - lse) in f32 gives the weights back within 2^-24 * 512 = 3e-5: not for rows all of whose scores are huge, such as
/// those that a bias of -1e4 hides as a whole.
bool exact_enough(const Tensor& lse) {
  if (!lse.defined()) return true;
  const float* x = lse.raw<float>();
  return std::none_of(x, x + lse.count(), [](float value) { return std::abs(value) > 512 && value != -infinity; });
}

/// Options whose views are copied, so that they outlive the call.
struct Kept {
  explicit Kept(const AttendOptions& from) : options(from) {
    const auto keep = [this](View& view) {
      const Tensor own(view.dtype, view.shape);
      const Tensor from = Tensor(view, std::make_shared<int>()).dense();
      std::copy_n(from.raw<char>(), std::size_t(own.count()) * size_of(view.dtype), own.raw<char>());
      tensors.push_back(own);
      view = own.raw_view();
    };
    if (options.mask) keep(*options.mask);
    if (options.key_lengths) keep(*options.key_lengths);
    if (options.query_lengths) keep(*options.query_lengths);
    if (options.blocks) keep(options.blocks->keep);
  }
  AttendOptions options;
  std::vector<Tensor> tensors;
};

}  // namespace

Attended Ops::attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options, unsigned extras,
                     const ScoreTerms& terms) const {
  const std::vector<const Tensor*> inputs{&q, &k, &v, &terms.bias, &terms.alibi_slopes, &terms.sink};
  const bool recorded = wanted(inputs),
             softmax_like = options.weighting == Weighting::softmax || options.weighting == Weighting::softmax_plus_one;
  const Sizes s = sizes_of(q, k, v);
  Attended result;
  AttendExtras into;
  const auto make = [&](unsigned bit, const Shape& shape, Tensor& tensor, std::optional<View>& view) {
    if (!(extras & bit)) return;
    tensor = Tensor(DType::f32, shape);
    view = tensor.raw_view();
  };
  const unsigned asked = extras;
  if (recorded && softmax_like) extras |= want_lse;  // the derivative starts from it
  make(want_lse, {s.B, s.H, s.N}, result.lse, into.lse);
  make(want_row_max, {s.B, s.H, s.N}, result.row_max, into.row_max);
  make(want_column_sums, {s.B, s.H, s.M}, result.column_sums, into.column_sums);
  make(want_weights, {s.B, s.H, s.N, s.M}, result.weights, into.weights);
  // The derivative takes sums of out gradient . out from gradient . v: where one weight is almost all they cancel, if out is not rounded.
  const Tensor unrounded(recorded ? DType::f32 : q.dtype(), {s.B, s.N, s.H, s.E});
  heed::attend(q.raw_view(), k.raw_view(), v.raw_view(), unrounded, with_terms(options, terms), into, context_);
  result.out = unrounded.to(q.dtype());
  if (!recorded) return result;
  const auto kept = std::make_shared<const Kept>(options);
  const auto derivative = [q, k, v, terms, kept, asked, s, out = unrounded, lse = result.lse](const Pull& p) -> std::vector<Tensor> {
    const bool more = p.gradient(1).defined() || p.gradient(2).defined() || p.gradient(3).defined() || p.gradient(4).defined();
    if (p.ops.recording() || more || !exact_enough(lse)) {  // also gradients of the extras, or a derivative to be differentiated
      const Ops again(p.ops.context());
      // Partial derivatives: each input apart from the others, as one may be made from another (a bias of q) or be the same tensor.
      std::array<Tensor, 6> own{q, k, v, terms.bias, terms.alibi_slopes, terms.sink};
      for (Tensor& input : own)
        if (input.origin()) input = again.straight_through(input, input);
      const Attended plain = again.attend_plain(own[0], own[1], own[2], kept->options, asked, {own[3], own[4], own[5]});
      std::vector<Tensor> from, along, of;
      int place = 0;
      for (const Tensor* output : {&plain.out, &plain.lse, &plain.row_max, &plain.column_sums, &plain.weights}) {
        if (p.gradient(place).defined()) from.push_back(*output), along.push_back(p.gradient(place));
        ++place;
      }
      for (const Tensor& input : own)
        if (input.origin()) of.push_back(input);
      const auto found = gradients(p.ops, from, along, of);
      std::vector<Tensor> back;
      std::size_t next = 0;
      for (const Tensor& input : own) back.push_back(input.origin() ? found[next++] : Tensor());
      return back;
    }
    std::vector<Tensor> back(6);
    AttendGradients into;
    const auto make = [&](int place, const Tensor& like, std::optional<View>& view) {
      if (!p.wants(place)) return;
      back[std::size_t(place)] = Tensor(DType::f32, like.shape());
      view = back[std::size_t(place)].view();
    };
    make(0, q, into.q), make(1, k, into.k), make(2, v, into.v);
    make(3, terms.bias, into.bias), make(4, terms.alibi_slopes, into.alibi_slopes), make(5, terms.sink, into.sink);
    const Tensor g = p.gradient().dense(p.ops.context().threads), rows = lse.defined() ? lse : Tensor::zeros(DType::f32, {s.B, s.H, s.N});
    attend_backward(q.raw_view(), k.raw_view(), v.raw_view(), out.raw_view(), rows, g, into, with_terms(kept->options, terms),
                    p.ops.context());
    return back;
  };
  record("attend", {&result.out, &result.lse, &result.row_max, &result.column_sums, &result.weights}, inputs, derivative);
  if (!(asked & want_lse)) result.lse = {};
  return result;
}

Attended Ops::attend_plain(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options, unsigned extras,
                           const ScoreTerms& terms) const {
  const Sizes s = sizes_of(q, k, v);
  why(q.raw_view(), k.raw_view(), v.raw_view(), with_terms(options, terms), {}, context_);  // checks everything
  const bool softmax_like = options.weighting == Weighting::softmax || options.weighting == Weighting::softmax_plus_one;
  if ((extras & (want_lse | want_row_max)) && !softmax_like) fail("lse, row_max", "the weighting softmax or softmax_plus_one", "another");
  const std::int64_t share = s.G == 0 ? 1 : s.H / s.G;
  // Heads that share keys stand below each other: (B, G, share * N, D).
  const Tensor rows = q.to(DType::f32).permute({0, 2, 1, 3}).reshape({s.B, s.G, share * s.N, s.D});
  const Tensor keys = k.to(DType::f32).permute({0, 2, 3, 1}), values = v.to(DType::f32).permute({0, 2, 1, 3});
  const Shape plane{s.B, s.H, s.N, s.M};
  Tensor score = scale(matmul(rows, keys), options.scale ? *options.scale : 1 / std::sqrt(float(s.D))).reshape(plane);
  if (options.softcap != 0) score = scale(tanh(scale(score, 1 / options.softcap)), options.softcap);
  if (terms.bias.defined()) score = add(score, terms.bias);
  if (terms.alibi_slopes.defined()) score = add(score, mul(terms.alibi_slopes.reshape({s.H, 1, 1}), distances(options, s)));
  const Tensor mask = visible(options, s), none = full({}, 0);
  Attended result;
  Tensor weights;
  if (softmax_like) {
    score = where(mask, score, full({}, -infinity));
    if ((extras & want_row_max) != 0) result.row_max = s.M == 0 ? full({s.B, s.H, s.N}, -infinity) : max(score, {-1});
    Tensor all = score;
    if (terms.sink.defined() || options.weighting == Weighting::softmax_plus_one) {
      const Tensor sink = terms.sink.defined() ? terms.sink.reshape({1, s.H, 1, 1}) : full({1, 1, 1, 1}, 0);
      all = concat({score, sink.broadcast({s.B, s.H, s.N, 1})}, 3);
    }
    weights = softmax(all, 3).slice(3, 0, s.M);
    if ((extras & want_lse) != 0) result.lse = all.extent(3) == 0 ? full({s.B, s.H, s.N}, -infinity) : logsumexp(all, 3);
  } else if (options.weighting == Weighting::sigmoid) {
    weights = where(mask, sigmoid(score), none);
  } else {
    Tensor inverse(DType::f32, {s.B, 1, 1, 1});
    for (std::int64_t b = 0; b < s.B; ++b)
      inverse.raw<float>()[b] = 1 / float(std::max<std::int64_t>(1, length(options.key_lengths, b, s.M)));
    weights = where(mask, mul(relu(score), inverse), none);
  }
  result.out =
      matmul(weights.reshape({s.B, s.G, share * s.N, s.M}), values).reshape({s.B, s.H, s.N, s.E}).permute({0, 2, 1, 3}).to(q.dtype());
  if ((extras & want_column_sums) != 0) result.column_sums = sum(weights, {2});
  if ((extras & want_weights) != 0) result.weights = weights.dense(context_.threads);
  return result;
}

}  // namespace v0
}  // namespace heed
