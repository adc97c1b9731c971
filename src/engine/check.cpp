// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "engine/tiles.h"

namespace heed::engine {
namespace {

std::string number(std::int64_t n) { return std::to_string(n); }

void want_data(const char* name, const View& view) {
  if (view.count() > 0 && view.data == nullptr) fail(name, "memory", "a null pointer");
}

void want(const char* name, const View& view, DType dtype, const Shape& shape) {
  if (view.dtype != dtype) fail(name, name_of(dtype), name_of(view.dtype));
  if (!(view.shape == shape)) fail(name, shape.text(), view.shape.text());
  want_data(name, view);
}

void want_output(const char* name, const View& view, const Shape& shape) {
  if (!(view.shape == shape)) fail(name, shape.text(), view.shape.text());
  want_data(name, view);
  if (view.count() == 0) return;
  for (int a = 0; a < view.rank(); ++a)
    if (view.extent(a) > 1 && view.stride(a) == 0) fail(name, "elements of their own", "a stride of 0 on axis " + number(a));
}

Plane broadcast(const char* name, const View& view, DType dtype, const Shape& shape) {
  if (view.dtype != dtype) fail(name, name_of(dtype), name_of(view.dtype));
  const std::string expected = "broadcastable to " + shape.text();
  if (view.rank() > 4) fail(name, expected, view.shape.text());
  std::int64_t strides[4] = {};
  for (int a = 0; a < view.rank(); ++a) {
    const int to = a + 4 - view.rank();
    if (view.extent(a) != 1 && view.extent(a) != shape[to]) fail(name, expected, view.shape.text());
    strides[to] = view.extent(a) == 1 ? 0 : view.stride(a);
  }
  want_data(name, view);
  return {view.data, strides[0], strides[1], strides[2], strides[3]};
}

std::vector<std::int64_t> lengths(const char* name, const std::optional<View>& view, std::int64_t B, std::int64_t most) {
  std::vector<std::int64_t> result(std::size_t(B), most);
  if (!view) return result;
  want(name, *view, DType::i64, Shape{B});
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t n = static_cast<const std::int64_t*>(view->data)[b * view->strides[0]];
    if (n < 0 || n > most) fail(name, "lengths from 0 to " + number(most), number(n));
    result[std::size_t(b)] = n;
  }
  return result;
}

void check_options(Call& c) {
  const AttendOptions& o = c.options;
  if (o.window_left < -1) fail("window_left", "-1 or more", number(o.window_left));
  if (o.window_right < -1) fail("window_right", "-1 or more", number(o.window_right));
  if (o.first_keys < 0) fail("first_keys", "0 or more", number(o.first_keys));
  if (o.dilation < 1) fail("dilation", "1 or more", number(o.dilation));
  if (o.scale && !std::isfinite(*o.scale)) fail("scale", "a finite number", std::to_string(*o.scale));
  if (!std::isfinite(o.softcap) || o.softcap < 0) fail("softcap", "a finite number, 0 or more", std::to_string(o.softcap));
  if (int(o.weighting) > int(Weighting::softmax_plus_one)) fail("weighting", "one of the four", number(int(o.weighting)));
  c.softmax = o.weighting == Weighting::softmax || o.weighting == Weighting::softmax_plus_one;
  if (o.sink && o.weighting != Weighting::softmax) fail("sink", "the weighting softmax", "another weighting");
  if (c.extras.lse && !c.softmax) fail("lse", "softmax or softmax_plus_one", "another weighting");
  if (c.extras.row_max && !c.softmax) fail("row_max", "softmax or softmax_plus_one", "another weighting");
  c.scale = o.scale ? *o.scale : 1.0f / std::sqrt(float(c.D));
  const Shape plane{c.B, c.H, c.N, c.M};
  if (o.bias) c.bias = broadcast("bias", *o.bias, DType::f32, plane);
  if (o.mask) c.mask = broadcast("mask", *o.mask, DType::boolean, plane);
  if (o.alibi_slopes) want("alibi_slopes", *o.alibi_slopes, DType::f32, Shape{c.H});
  if (o.sink) want("sink", *o.sink, DType::f32, Shape{c.H});
  if (o.blocks) {
    const std::int64_t rows = o.blocks->query_block, columns = o.blocks->key_block;
    if (rows < 1) fail("blocks.query_block", "1 or more", number(rows));
    if (columns < 1) fail("blocks.key_block", "1 or more", number(columns));
    c.keep = broadcast("blocks.keep", o.blocks->keep, DType::boolean, Shape{c.B, c.H, parts_of(c.N, rows), parts_of(c.M, columns)});
    c.keys = std::clamp<std::int64_t>(columns / 64 * 64, 64, tile_keys);
    if (rows >= 32 && rows <= tile_rows) c.rows = rows;
  }
  c.key_lengths = lengths("key_lengths", o.key_lengths, c.B, c.M);
  c.query_lengths = lengths("query_lengths", o.query_lengths, c.B, c.N);
  const bool steps = o.softcap > 0 || o.bias || o.mask || o.alibi_slopes || o.dilation > 1;
  c.plain = c.softmax && c.scale > 0 && !steps;
  c.factor = c.plain ? c.scale * log2e : log2e;
}

/// How products are computed, and the sizes of tiles that follow.
void choose(Call& c) {
  const Precision precision = c.context.precision;
  if (precision == Precision::split || precision == Precision::int8)
    fail("context.precision", "strict or fast: split and int8 are not built yet", precision == Precision::split ? "split" : "int8");
  const bool fast = precision == Precision::fast || (precision == Precision::automatic && c.q.dtype != DType::f32);
  const kernel::Products* pairs = kernel::pairs_of(c.context.isa);
  c.products = !fast                                         ? c.table->strict
               : pairs != nullptr && c.q.dtype != DType::f16 ? pairs
               : c.q.dtype == DType::f32                     ? c.table->strict
                                                             : c.table->brief;
  if (c.N > 0 && c.N * c.share <= direct_rows && (c.D == 1 || c.k.strides[3] == 1) && (c.E == 1 || c.v.strides[3] == 1)) {
    const kernel::DirectPairs few = kernel::direct_pairs_of(c.context.isa);
    const bool paired = fast && few.direct && c.q.dtype == DType::bf16;
    if (!c.extras.column_sums && !c.extras.weights) c.direct = paired ? few.direct : &c.table->direct;
    if (c.direct) c.products = paired ? few.products : c.table->strict;
    if (c.direct) c.keys = std::min(c.keys, std::max<std::int64_t>(1, c.M / 512) * 64);  // short calls have tasks enough too
  }
  c.keys = tile_of(c, c.keys);
}

}  // namespace

Call check(const View& q, const View& k, const View& v, const View* out, const AttendOptions& options, const AttendExtras& extras,
           const Context& context) {
  Call c;
  c.q = q, c.k = k, c.v = v, c.options = options, c.extras = extras, c.context = context;
  if (q.rank() != 4) fail("q", "rank 4 (B, N, H, D)", q.shape.text());
  if (k.rank() != 4) fail("k", "rank 4 (B, M, G, D)", k.shape.text());
  if (v.rank() != 4) fail("v", "rank 4 (B, M, G, E)", v.shape.text());
  if (q.dtype != DType::f32 && q.dtype != DType::bf16 && q.dtype != DType::f16) fail("q", "f32, bf16 or f16", name_of(q.dtype));
  c.B = q.extent(0), c.N = q.extent(1), c.H = q.extent(2), c.D = q.extent(3);
  c.M = k.extent(1), c.G = k.extent(2), c.E = v.extent(3);
  if (c.D < 1) fail("q", "channels", q.shape.text());
  if (c.E < 1) fail("v", "channels", v.shape.text());
  want("q", q, q.dtype, q.shape);
  want("k", k, q.dtype, Shape{c.B, c.M, c.G, c.D});
  want("v", v, q.dtype, Shape{c.B, c.M, c.G, c.E});
  if (c.G == 0 ? c.H != 0 : c.H % c.G != 0) fail("k", "heads that divide the " + number(c.H) + " of q", number(c.G));
  c.share = c.G == 0 ? 1 : c.H / c.G;
  if (context.threads < 0) fail("context.threads", "0 or more", number(context.threads));
  if (int(context.isa) > int(Isa::amx_emulated)) fail("context.isa", "an instruction set", number(int(context.isa)));
  if (!runs_here(context.isa)) fail("context.isa", "an instruction set of this machine", name_of(context.isa));
  c.table = &kernel::table_of(context.isa);
  check_options(c);
  choose(c);
  if (out) {
    c.out = *out;
    if (out->dtype != q.dtype && out->dtype != DType::f32) fail("out", std::string(name_of(q.dtype)) + " or f32", name_of(out->dtype));
    want_output("out", *out, Shape{c.B, c.N, c.H, c.E});
  }
  const auto extra = [](const char* name, const std::optional<View>& view, const Shape& shape) {
    if (!view) return;
    if (view->dtype != DType::f32) fail(name, "f32", name_of(view->dtype));
    want_output(name, *view, shape);
  };
  extra("lse", extras.lse, Shape{c.B, c.H, c.N});
  extra("row_max", extras.row_max, Shape{c.B, c.H, c.N});
  extra("column_sums", extras.column_sums, Shape{c.B, c.H, c.M});
  extra("weights", extras.weights, Shape{c.B, c.H, c.N, c.M});
  return c;
}

}  // namespace heed::engine
