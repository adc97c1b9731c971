// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "engine/scan.h"

namespace heed::engine {
namespace {

void want(const char* name, const View& view, DType dtype, const Shape& shape) {
  if (view.dtype != dtype) fail(name, name_of(dtype), name_of(view.dtype));
  if (!(view.shape == shape)) fail(name, shape.text(), view.shape.text());
  if (view.count() > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
}

/// Strides of a view stretched to a shape of rank 4 or less, 0 where it is stretched.
Plane stretch(const char* name, const View& view, const Shape& shape) {
  const std::string expected = "broadcastable to " + shape.text();
  if (view.dtype != DType::f32) fail(name, "f32", name_of(view.dtype));
  if (view.rank() > shape.rank()) fail(name, expected, view.shape.text());
  std::int64_t strides[4] = {};
  for (int a = 0; a < view.rank(); ++a) {
    const int to = a + shape.rank() - view.rank();
    if (view.extent(a) != 1 && view.extent(a) != shape[to]) fail(name, expected, view.shape.text());
    strides[to] = view.extent(a) == 1 ? 0 : view.stride(a);
  }
  if (view.count() > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
  return {view.data, strides[0], strides[1], strides[2], strides[3]};
}

}  // namespace

void check_f32(const char* name, const std::optional<View>& view, const Shape& shape, bool result) {
  if (!view) return;
  want(name, *view, DType::f32, shape);
  for (int a = 0; result && view->count() > 0 && a < view->rank(); ++a)
    if (view->extent(a) > 1 && view->stride(a) == 0) fail(name, "elements of their own", "a stride of 0 on axis " + std::to_string(a));
}

ScanCall check_scan(const View& q, const View& k, const View& v, const ScanOptions& options, bool sum, const Context& context) {
  ScanCall c;
  c.q = q, c.k = k, c.v = v, c.options = options, c.context = context, c.sum = sum;
  if (q.rank() != 4) fail("q", "rank 4 (B, N, H, D)", q.shape.text());
  if (k.rank() != 4) fail("k", "rank 4 (B, N, G, D)", k.shape.text());
  if (v.rank() != 4) fail("v", "rank 4 (B, N, G, E)", v.shape.text());
  if (q.dtype != DType::f32 && q.dtype != DType::bf16 && q.dtype != DType::f16) fail("q", "f32, bf16 or f16", name_of(q.dtype));
  c.B = q.extent(0), c.N = q.extent(1), c.H = q.extent(2), c.D = q.extent(3);
  c.G = k.extent(2), c.E = v.extent(3);
  if (c.D < 1) fail("q", "channels", q.shape.text());
  if (c.E < 1) fail("v", "channels", v.shape.text());
  want("q", q, q.dtype, q.shape);
  want("k", k, q.dtype, Shape{c.B, c.N, c.G, c.D});
  want("v", v, q.dtype, Shape{c.B, c.N, c.G, c.E});
  if (c.G == 0 ? c.H != 0 : c.H % c.G != 0) fail("k", "heads that divide the " + std::to_string(c.H) + " of q", std::to_string(c.G));
  c.share = c.G == 0 ? 1 : c.H / c.G;

  const ScanOptions& o = options;
  if (!std::isfinite(o.scale)) fail("scale", "a finite number", std::to_string(o.scale));
  if (int(o.direction) > int(Direction::both)) fail("direction", "one of the three", std::to_string(int(o.direction)));
  if (o.chunk < 0 || o.chunk > most_scan_chunk) fail("chunk", "0 to " + std::to_string(most_scan_chunk), std::to_string(o.chunk));
  c.chunk = o.chunk > 0 ? int(o.chunk) : c.N <= 4 ? 1 : scan_chunk;
  if (o.decay) {
    c.decay = stretch("decay", *o.decay, Shape{c.B, c.N, c.H, c.D});
    c.decays = true;
    c.channels = c.D > 1 && o.decay->rank() > 0 && o.decay->extent(-1) == c.D;
  }
  if (o.beta) {
    c.beta = stretch("beta", *o.beta, Shape{c.B, c.N, c.H});
    c.delta = true;
    if (sum) fail("sum", "no delta rule", "beta");
  }
  check_f32("initial", o.initial, Shape{c.B, c.H, c.D, c.E}, false);
  check_f32("initial_sum", o.initial_sum, Shape{c.B, c.H, c.D}, false);
  c.lengths.assign(std::size_t(c.B), c.N);
  if (o.lengths) {
    want("lengths", *o.lengths, DType::i64, Shape{c.B});
    for (std::int64_t b = 0; b < c.B; ++b) {
      const std::int64_t n = static_cast<const std::int64_t*>(o.lengths->data)[b * o.lengths->strides[0]];
      if (n < 0 || n > c.N) fail("lengths", "lengths from 0 to " + std::to_string(c.N), std::to_string(n));
      c.lengths[std::size_t(b)] = n;
    }
  }
  if (context.threads < 0) fail("context.threads", "0 or more", std::to_string(context.threads));
  if (int(context.isa) > int(Isa::amx_emulated)) fail("context.isa", "an instruction set", std::to_string(int(context.isa)));
  if (!runs_here(context.isa)) fail("context.isa", "an instruction set of this machine", name_of(context.isa));
  c.table = &kernel::table_of(context.isa);
  c.loops = &kernel::scan_table_of(context.isa);
  return c;
}

}  // namespace heed::engine
