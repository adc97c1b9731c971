// SPDX-License-Identifier: Apache-2.0
// Multi-scale deformable attention, the attention of Co-DETR (Zong et al., 2023; Zhu et al., 2021): a query reads P points of each of L
// maps,
//   out = W_o [sum_{l,p} A_{mlp} bilinear(W_v x^l, loc_{mlp})]_m,  A = softmax over (l, p) and offsets linear in the query
//   loc = ref + offset / (W_l, H_l), or with boxes ref_xy + offset / P * ref_wh / 2
// A sample is four keys of the list of its query and head, weighted by A and the bilinear weights.
#include <cmath>

#include "heed/lists.h"
#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Msdeform : Mechanism {
  Tensor query, reference_points, input_flatten, shapes, padding, out, locations, attention;
  Tensor offset_w, offset_b, attention_w, attention_b, value_w, value_b, output_w, output_b;
  std::int64_t d_model = 256, n_levels = 4, n_heads = 8, n_points = 4, reference_dim = 2;

  void describe(Declaration& d) override {
    d.param("d_model", d_model, "C").least(1);
    d.param("n_levels", n_levels, "L, maps").least(1);
    d.param("n_heads", n_heads, "M").least(1);
    d.param("n_points", n_points, "P, points a head reads of a map").least(1);
    d.param("reference_dim", reference_dim, "2: points; 4: boxes (cx, cy, w, h)").least(2).most(4);
    d.input("query", query, "B Lq d_model", "queries");
    d.input("reference_points", reference_points, "B Lq n_levels reference_dim", "in [0, 1], (x, y) first").between("0", "1");
    d.input("input_flatten", input_flatten, "B S d_model", "the maps, one after another, row by row");
    std::vector<std::string> sides;  // of an example: each map half as large as the last
    std::string places;
    for (std::int64_t l = 0, half = 1; l < std::min<std::int64_t>(n_levels, 64); ++l, half = std::min<std::int64_t>(2 * half, 1 << 20)) {
      const std::string side = "max(side//" + std::to_string(half) + ",1)";
      sides.insert(sides.end(), {side, side});
      places += (l ? "+" : "") + side + "*" + side;
    }
    d.input("input_spatial_shapes", shapes, "n_levels 2", "(H, W) of each map").of(DType::i64).within("1", "S").example(sides);
    d.input("input_padding_mask", padding, "B S", "true where a pixel is padding: its value is 0").of(DType::boolean).optional();
    d.linear("sampling_offsets", offset_w, offset_b, "n_heads*n_levels*n_points*2", "d_model");
    d.linear("attention_weights", attention_w, attention_b, "n_heads*n_levels*n_points", "d_model");
    d.linear("value_proj", value_w, value_b, "d_model", "d_model");
    d.linear("output_proj", output_w, output_b, "d_model", "d_model");
    d.size("side", "56");
    d.size("S", places);
    d.size("Lq", "300");
    d.output("out", out, "B Lq d_model");
    d.output("sampling_locations", locations, "B Lq n_heads n_levels n_points 2", "(x, y) in [0, 1]");
    d.output("attention_weights", attention, "B Lq n_heads n_levels n_points");
  }

  /// (H, W) of a map.
  std::int64_t extent(std::int64_t level, int axis) const {
    return shapes.data<std::int64_t>()[level * shapes.stride(0) + axis * shapes.stride(1)];
  }

  /// (B, Lq, M, L, P, 4): keys of the corners of each sample, -1 outside of its map.
  Tensor corners(const Tensor& pixels) const {
    const auto B = pixels.extent(0), Lq = pixels.extent(1);
    Tensor index(DType::i64, {B, Lq, n_heads, n_levels, n_points, 4});
    const float* at = pixels.data<float>();
    auto* to = index.data<std::int64_t>();
    for (std::int64_t n = 0; n < B * Lq * n_heads; ++n)
      for (std::int64_t l = 0, begin = 0; l < n_levels; begin += extent(l, 0) * extent(l, 1), ++l)
        for (std::int64_t p = 0; p < n_points; ++p, at += 2)
          for (int corner = 0; corner < 4; ++corner) {
            const float x = std::floor(at[0]) + float(corner % 2), y = std::floor(at[1]) + float(corner / 2);
            const bool inside = x >= 0 && y >= 0 && x < float(extent(l, 1)) && y < float(extent(l, 0));
            *to++ = inside ? begin + std::int64_t(y) * extent(l, 1) + std::int64_t(x) : -1;
          }
    return index;
  }

  void run(Ops& ops) override {
    if (reference_dim == 3) fail("parameter reference_dim", "2 or 4", "3");
    if (d_model % n_heads) fail("parameter n_heads", "a divisor of " + std::to_string(d_model), std::to_string(n_heads));
    const auto B = query.extent(0), Lq = query.extent(1), S = input_flatten.extent(1), M = n_heads, L = n_levels, P = n_points;
    Tensor size(DType::f32, {L, 1, 2});
    std::int64_t pixels_of_all = 0;
    for (std::int64_t l = 0; l < L; ++l) {
      pixels_of_all += extent(l, 0) * extent(l, 1);
      for (int axis = 0; axis < 2; ++axis) size.data<float>()[l * 2 + axis] = float(extent(l, 1 - axis));
    }
    if (pixels_of_all != S) fail("input input_spatial_shapes", "maps of " + std::to_string(S) + " pixels", std::to_string(pixels_of_all));

    Tensor value = ops.linear(input_flatten, value_w, value_b);
    if (padding.defined()) value = ops.where(padding.reshape({B, S, 1}), ops.full({}, 0), value);
    attention = ops.softmax(ops.linear(query, attention_w, attention_b).reshape({B, Lq, M, L * P}), 3).reshape({B, Lq, M, L, P});
    const Tensor offsets = ops.linear(query, offset_w, offset_b).reshape({B, Lq, M, L, P, 2});
    const Tensor reference = reference_points.reshape({B, Lq, 1, L, 1, reference_dim});
    locations = reference_dim == 2
                    ? ops.add(reference, ops.div(offsets, size))
                    : ops.add(reference.slice(5, 0, 2), ops.mul(ops.scale(offsets, 0.5f / float(P)), reference.slice(5, 2, 2)));

    const Tensor pixels = ops.shift(ops.mul(locations, size), -0.5f), still = ops.no_gradient(pixels, "choice of a pixel").dense();
    Tensor floor(DType::f32, still.shape());
    for (std::int64_t n = 0; n < floor.count(); ++n) floor.data<float>()[n] = std::floor(still.data<float>()[n]);
    const Tensor past = ops.sub(pixels, floor), before = ops.shift(ops.neg(past), 1);
    const auto x = [](const Tensor& t) { return t.slice(5, 0, 1); };
    const auto y = [](const Tensor& t) { return t.slice(5, 1, 1); };
    const Tensor bilinear =
        ops.concat({ops.mul(x(before), y(before)), ops.mul(x(past), y(before)), ops.mul(x(before), y(past)), ops.mul(x(past), y(past))}, 5);

    const auto by_head = [&](const Tensor& t) { return t.permute({0, 2, 1, 3, 4, 5}).reshape({B, M, Lq, L * P * 4}); };
    ListTensors t;
    t.v = value.reshape({B * S, M, d_model / M});
    t.bias = by_head(ops.mul(attention.reshape({B, Lq, M, L, P, 1}), bilinear)).reshape({B * M * Lq * L * P * 4, 1});
    ListOptions o;
    o.score = ListScore::edge;
    o.softmax = false;
    const Tensor read = ops.attend_lists(t, lists_of_table(by_head(corners(still)), S), o).out;
    out = ops.linear(read.reshape({B, Lq, d_model}), output_w, output_b);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(co_detr_msdeform, Msdeform, "co-detr-msdeform", "deformable", "block", 2,
               "DETRs with Collaborative Hybrid Assignments Training")
