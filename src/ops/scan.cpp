// SPDX-License-Identifier: Apache-2.0
#include "heed/scan.h"

#include <cmath>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

ScanOptions with_terms(ScanOptions options, const ScanTerms& terms) {
  if (options.decay || options.beta || options.initial || options.initial_sum || options.lengths)
    fail("options", "decay, beta, initial, initial_sum and lengths given as terms", "a view");
  const auto give = [](std::optional<View>& to, const Tensor& from) {
    if (from.defined()) to = from.raw_view();
  };
  give(options.decay, terms.decay);
  give(options.beta, terms.beta);
  give(options.initial, terms.initial);
  give(options.initial_sum, terms.initial_sum);
  give(options.lengths, terms.lengths);
  return options;
}

void need_rank4(const Tensor& x, const char* name, const char* shape) {
  if (!x.defined() || x.rank() != 4) fail(name, shape, x.defined() ? x.shape().text() : "none");
}

Tensor plain(const Tensor& x) { return x.defined() ? x.with_origin(nullptr) : x; }

}  // namespace

Scanned Ops::scan(const Tensor& q, const Tensor& k, const Tensor& v, const ScanTerms& terms, const ScanOptions& options,
                  unsigned extras) const {
  need_rank4(q, "q", "[B, N, H, D]");
  need_rank4(k, "k", "[B, N, G, D]");
  need_rank4(v, "v", "[B, N, G, E]");
  const std::vector<const Tensor*> inputs{&q, &k, &v, &terms.decay, &terms.beta, &terms.initial, &terms.initial_sum};
  const bool recorded = wanted(inputs);
  if (recorded && q.dtype() != DType::f32) {
    Scanned result = scan(q.to(DType::f32), k.to(DType::f32), v.to(DType::f32), terms, options, extras);
    result.out = result.out.to(q.dtype());
    return result;
  }
  const std::int64_t B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3), E = v.extent(3);
  Scanned result;
  ScanExtras into;
  const auto make = [&](unsigned bit, const Shape& shape, Tensor& tensor, std::optional<View>& view) {
    if (!(extras & bit)) return;
    tensor = Tensor(DType::f32, shape);
    view = tensor.raw_view();
  };
  make(want_sum, {B, N, H}, result.sum, into.sum);
  make(want_final, {B, H, D, E}, result.final, into.final);
  make(want_final_sum, {B, H, D}, result.final_sum, into.final_sum);
  result.out = Tensor(q.dtype(), {B, N, H, E});
  heed::scan(q.raw_view(), k.raw_view(), v.raw_view(), result.out.raw_view(), with_terms(options, terms), into, context_);
  if (!recorded) return result;

  const ScanTerms kept{plain(terms.decay), plain(terms.beta), plain(terms.initial), plain(terms.initial_sum), terms.lengths};
  const auto derivative = [q, k, v, terms, kept, options](const Pull& p) -> std::vector<Tensor> {
    const std::int64_t B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3), E = v.extent(3);
    ScanCotangents given;
    const Tensor arrived[] = {plain(p.gradient(0)), plain(p.gradient(1)), plain(p.gradient(2)), plain(p.gradient(3))};
    std::optional<View>* const cotangents[] = {&given.out, &given.sum, &given.final, &given.final_sum};
    for (int i = 0; i < 4; ++i)
      if (arrived[i].defined()) *cotangents[i] = arrived[i].raw_view();
    ScanGradients into;
    std::vector<Tensor> grads(7);
    const bool channels = kept.decay.defined() && D > 1 && kept.decay.rank() > 0 && kept.decay.extent(-1) == D;
    const Shape shapes[] = {q.shape(), k.shape(), v.shape(), {B, N, H, channels ? D : 1}, {B, N, H}, {B, H, D, E}, {B, H, D}};
    std::optional<View>* const views[] = {&into.q, &into.k, &into.v, &into.decay, &into.beta, &into.initial, &into.initial_sum};
    for (int i = 0; i < 7; ++i)
      if (p.wants(i)) *views[i] = (grads[std::size_t(i)] = Tensor(DType::f32, shapes[i])).raw_view();
    scan_backward(q.raw_view(), k.raw_view(), v.raw_view(), with_terms(options, kept), given, into, p.ops.context());
    if (grads[3].defined()) grads[3] = p.ops.sum_to(grads[3], kept.decay.shape());
    if (grads[4].defined()) grads[4] = p.ops.sum_to(grads[4], kept.beta.shape());
    const std::vector<const Tensor*> inputs{&q,
                                            &k,
                                            &v,
                                            &terms.decay,
                                            &terms.beta,
                                            &terms.initial,
                                            &terms.initial_sum,
                                            &p.gradient(0),
                                            &p.gradient(1),
                                            &p.gradient(2),
                                            &p.gradient(3)};
    p.ops.record(
        "scan_backward", {&grads[0], &grads[1], &grads[2], &grads[3], &grads[4], &grads[5], &grads[6]}, inputs,
        [](const Pull&) -> std::vector<Tensor> { fail("scan", "one derivative (scan_plain has more)", "a derivative of its derivative"); });
    return grads;
  };
  record("scan", {&result.out, &result.sum, &result.final, &result.final_sum}, inputs, derivative);
  return result;
}

Scanned Ops::scan_plain(const Tensor& q, const Tensor& k, const Tensor& v, const ScanTerms& terms, const ScanOptions& options,
                        unsigned extras) const {
  need_rank4(q, "q", "[B, N, H, D]");
  need_rank4(k, "k", "[B, N, G, D]");
  need_rank4(v, "v", "[B, N, G, E]");
  with_terms(options, terms);
  const std::int64_t B = q.extent(0), N = q.extent(1), H = q.extent(2), D = q.extent(3), E = v.extent(3),
                     share = k.extent(2) ? H / k.extent(2) : 1;
  const Tensor keys = repeat(k.to(DType::f32), 2, share), values = repeat(v.to(DType::f32), 2, share),
               queries = scale(q.to(DType::f32), options.scale);
  const Tensor decay = terms.decay.defined() ? exp(terms.decay).broadcast({B, N, H, D}) : Tensor(), ones = full({1}, 1),
               none = full({1}, 0);
  const Tensor beta = terms.beta.defined() ? terms.beta.broadcast({B, N, H}) : Tensor();
  const auto token = [](const Tensor& x, std::int64_t t) {
    return x.slice(1, t, 1).reshape(Shape{x.extent(0), x.extent(2), x.rank() == 4 ? x.extent(3) : 1});
  };
  const auto exists = [&](std::int64_t t) {
    Tensor mask(DType::boolean, {B, 1, 1, 1});
    for (std::int64_t b = 0; b < B; ++b)
      mask.raw<std::uint8_t>()[b] = !terms.lengths.defined() || t < terms.lengths.raw<std::int64_t>()[b * terms.lengths.stride(0)];
    return mask;
  };
  Scanned result;
  const auto pass = [&](bool reverse, bool exclusive, bool states) {
    Tensor S = states && terms.initial.defined() ? terms.initial : full({B, H, D, E}, 0);
    Tensor z = states && terms.initial_sum.defined() ? terms.initial_sum : full({B, H, D}, 0);
    std::vector<Tensor> outs(static_cast<std::size_t>(N)), sums(static_cast<std::size_t>(N));
    for (std::int64_t s = 0; s < N; ++s) {
      const std::int64_t t = reverse ? N - 1 - s : s;
      const Tensor mask = exists(t), flat = mask.reshape({B, 1, 1}), key = token(keys, t), query = token(queries, t);
      Tensor kept = S, kept_sum = z, u = token(values, t);
      if (decay.defined()) {
        const Tensor factor = token(decay, t);
        kept = mul(S, factor.reshape({B, H, D, 1})), kept_sum = mul(z, factor);
      }
      if (beta.defined()) u = mul(token(beta, t), sub(u, matmul(key.reshape({B, H, 1, D}), kept).reshape({B, H, E})));
      const Tensor next = add(kept, matmul(key.reshape({B, H, D, 1}), u.reshape({B, H, 1, E}))), next_sum = add(kept_sum, key);
      const Tensor& read = exclusive ? kept : next;
      outs[std::size_t(t)] = where(flat, matmul(query.reshape({B, H, 1, D}), read).reshape({B, H, E}), none);
      sums[std::size_t(t)] = where(flat, sum(mul(query, exclusive ? kept_sum : next_sum), {2}, true), none).reshape({B, H});
      S = where(mask, next, S), z = where(flat, next_sum, z);
    }
    const Tensor out = N ? stack(outs, 1) : full({B, 0, H, E}, 0), total = N ? stack(sums, 1) : full({B, 0, H}, 0);
    result.out = result.out.defined() ? add(result.out, out) : out;
    result.sum = result.sum.defined() ? add(result.sum, total) : total;
    if (states) result.final = S, result.final_sum = z;
  };
  pass(options.direction == Direction::reverse, options.exclusive, true);
  if (options.direction == Direction::both) pass(true, true, false);
  result.out = result.out.to(q.dtype());
  if (!(extras & want_sum)) result.sum = Tensor();
  if (!(extras & want_final)) result.final = Tensor();
  if (!(extras & want_final_sum)) result.final_sum = Tensor();
  return result;
}

Tensor Ops::recurrence(const Tensor& a, const Tensor& b, int axis, bool reverse) const {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  const int along = axis_of(axis, b.rank());
  const Lanes l = lanes(b.shape(), along);
  const Tensor factors = plain(a).broadcast(b.shape()).dense(context_.threads), terms = plain(b).dense(context_.threads);
  Tensor out(DType::f32, b.shape());
  pieces(context_.threads, l.outer * l.inner, 16384 / std::max<std::int64_t>(l.extent, 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t lane = begin; lane < end;) {
      const std::int64_t o = lane / l.inner, i = lane % l.inner, wide = std::min(end - lane, l.inner - i),
                         base = o * l.extent * l.inner + i;
      for (std::int64_t s = 0; s < l.extent; ++s) {
        const std::int64_t t = reverse ? l.extent - 1 - s : s, at = base + t * l.inner, before = reverse ? at + l.inner : at - l.inner;
        const float *x = factors.raw<float>() + at, *y = terms.raw<float>() + at;
        float* to = out.raw<float>() + at;
        if (s == 0)
          std::copy_n(y, wide, to);
        else
          for (std::int64_t j = 0; j < wide; ++j) to[j] = x[j] * out.raw<float>()[before + j] + y[j];
      }
      lane += wide;
    }
  });
  return record(
      "recurrence", out, {&a, &b},
      [a, shape = b.shape(), along, reverse](const Pull& p) -> std::vector<Tensor> {
        const std::int64_t n = shape[along], rest = std::max<std::int64_t>(n - 1, 0);
        if (n == 0) return {Tensor::zeros(DType::f32, a.shape()), Tensor::zeros(DType::f32, shape)};
        const Tensor whole = a.broadcast(shape);
        // the factor that carries x_t on, and x before t, each moved by one
        const Tensor next =
            reverse ? p.ops.pad(whole.slice(along, 0, rest), along, 1, 0) : p.ops.pad(whole.slice(along, 1, rest), along, 0, 1);
        const Tensor before =
            reverse ? p.ops.pad(p.output().slice(along, 1, rest), along, 0, 1) : p.ops.pad(p.output().slice(along, 0, rest), along, 1, 0);
        const Tensor total = p.ops.recurrence(next, p.gradient(), along, !reverse);
        return {p.wants(0) ? p.ops.sum_to(p.ops.mul(total, before), a.shape()) : Tensor(), total};
      },
      true);
}

Tensor Ops::cummax(const Tensor& x, int axis) const {
  need(x, DType::f32, "x");
  const int along = axis_of(axis, x.rank());
  const Lanes l = lanes(x.shape(), along);
  const Tensor from = plain(x).dense(context_.threads);
  Tensor best(DType::i64, x.shape());
  for (std::int64_t lane = 0; lane < l.outer * l.inner; ++lane) {
    const std::int64_t base = lane / l.inner * l.extent * l.inner + lane % l.inner;
    for (std::int64_t t = 0, at = 0; t < l.extent; ++t) {
      const float value = from.raw<float>()[base + t * l.inner], held = from.raw<float>()[base + at * l.inner];
      if (value > held || std::isnan(value)) at = t;
      best.raw<std::int64_t>()[base + t * l.inner] = at;
    }
  }
  return gather(x, along, best);
}

}  // namespace v0
}  // namespace heed
