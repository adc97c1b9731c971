// SPDX-License-Identifier: Apache-2.0
// Swin transformer (Liu et al., 2021). The block, on tokens of a map in row-major order: attention inside windows of M x M, with a
// bias for each offset of a query from a key, on a map that odd blocks roll by -shift; pairs that the roll brought together score -100.
//   x += attn(LN1 x);  x += fc2(gelu(fc1(LN2 x)))
// Patch merging: the 2 x 2 pixels (0,0), (1,0), (0,1), (1,1) side by side, layer norm, 4C -> 2C.
#include "mechanism/heads.h"
#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

struct Swin : Mechanism {
  Tensor x, out, attn, table, reduction;
  Affine qkv, proj, fc1, fc2;
  LayerNorm norm1, norm2, norm;
  std::optional<std::int64_t> dim;
  std::vector<std::int64_t> input_resolution;
  std::int64_t num_heads = 4, window_size = 7, shift_size = 0;
  double mlp_ratio = 4;
  bool qkv_bias = true;
  std::string op = "block";

  /// A map no larger than a window is one window.
  bool whole() const {
    return !input_resolution.empty() && *std::min_element(input_resolution.begin(), input_resolution.end()) <= window_size;
  }
  std::int64_t window() const { return whole() ? *std::min_element(input_resolution.begin(), input_resolution.end()) : window_size; }

  void describe(Declaration& d) override {
    const When block{op == "block", "op=block"}, merging{!block.holds, "op=patch_merging"};
    const std::string side = "(2*" + std::to_string(window()) + "-1)", hidden = "int(dim*mlp_ratio)";
    d.param("op", op, "the block, or the merging of patches between stages").one_of({"block", "patch_merging"});
    d.param("dim", dim, "channels").computed("C");
    d.param("input_resolution", input_resolution, "[H, W] of the map; a square one unless given").least(1);
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("window_size", window_size, "M, a divisor of H and W; no larger than the map").least(1);
    d.param("shift_size", shift_size, "rows and columns that the map is rolled by; 0 where the map is one window").least(0);
    d.param("mlp_ratio", mlp_ratio, "inner width of the MLP, in channels").least(0);
    d.param("qkv_bias", qkv_bias, "q, k and v have biases");
    d.input("x", x, "B N dim", "tokens of the map, row by row");
    norm1.describe(d, "norm1", "dim", block);
    d.weight("attn.relative_position_bias_table", table, side + "*" + side + " num_heads").init(Init::normal).when(block.holds, block.text);
    qkv.describe(d, "attn.qkv", "3*dim dim", {qkv_bias, "qkv_bias=true"}, block);
    proj.describe(d, "attn.proj", "dim dim", {}, block);
    norm2.describe(d, "norm2", "dim", block);
    fc1.describe(d, "mlp.fc1", hidden + " dim", {}, block);
    fc2.describe(d, "mlp.fc2", "dim " + hidden, {}, block);
    norm.describe(d, "norm", "4*dim", merging);
    d.ignore("attn.relative_position_index");  // buffers that follow from the parameters
    d.ignore("attn_mask");
    d.weight("reduction.weight", reduction, "2*dim 4*dim").when(merging.holds, merging.text);
    d.size("N", input_resolution.size() == 2 ? std::to_string(input_resolution[0] * input_resolution[1]) : "64*window_size*window_size");
    d.output("out", out, block.holds ? "B N dim" : "B N/4 2*dim");
    d.output("attn", attn, "B N dim", "the attention branch before it is added").when(block.holds, block.text);
  }

  /// (1, heads, M^2, M^2) from the table of offsets.
  Tensor offsets_bias(const Ops& ops, std::int64_t M) const {
    const auto N = M * M;
    const Tensor index(DType::i64, {N * N});
    for (std::int64_t i = 0; i < N; ++i)
      for (std::int64_t j = 0; j < N; ++j)
        index.data<std::int64_t>()[i * N + j] = (i / M - j / M + M - 1) * (2 * M - 1) + i % M - j % M + M - 1;
    return ops.index_select(table, 0, index).reshape({1, N, N, num_heads}).permute({0, 3, 1, 2});
  }
  /// (1, windows, 1, M^2, M^2): -100 where a roll by -shift brought pixels together that are not neighbours.
  static Tensor wrap_mask(std::int64_t H, std::int64_t W, std::int64_t M, std::int64_t shift) {
    const auto columns = W / M, windows = H / M * columns, N = M * M;
    const auto region = [&](std::int64_t at, std::int64_t size) { return at < size - M ? 0 : at < size - shift ? 1 : 2; };
    const Tensor mask(DType::f32, {1, windows, 1, N, N});
    float* to = mask.data<float>();
    for (std::int64_t w = 0; w < windows; ++w)
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t j = 0; j < N; ++j) {
          const auto of = [&](std::int64_t e) { return 3 * region(w / columns * M + e / M, H) + region(w % columns * M + e % M, W); };
          *to++ = of(i) == of(j) ? 0.0f : -100.0f;
        }
    return mask;
  }

  Tensor attention(const Ops& ops, const Tensor& tokens, std::int64_t H, std::int64_t W) const {
    const auto B = tokens.extent(0), C = tokens.extent(2), M = window(), shift = whole() ? 0 : shift_size, N = M * M;
    if (C % num_heads) fail("parameter num_heads", "a divisor of " + std::to_string(C), std::to_string(num_heads));
    if (shift >= M) fail("parameter shift_size", "less than window_size", std::to_string(shift));
    const auto roll = [&](const Tensor& map, std::int64_t by) { return by == 0 ? map : ops.roll(ops.roll(map, 1, by), 2, by); };
    const Tensor windows = ops.windows(roll(tokens.reshape({B, H, W, C}), -shift), {M});
    const auto all = windows.extent(0);
    const Tensor parts = qkv.linear(ops, windows).reshape({all, N, 3, num_heads, C / num_heads});
    const auto part = [&](int which) { return parts.slice(2, which, 1).reshape({all, N, num_heads, C / num_heads}); };
    Tensor bias = offsets_bias(ops, M);
    if (shift > 0) {
      const Tensor masked = ops.add(bias.reshape({1, 1, num_heads, N, N}), wrap_mask(H, W, M, shift));
      bias = masked.broadcast({B, H / M * (W / M), num_heads, N, N}).reshape({all, num_heads, N, N});
    }
    const Tensor y = proj.linear(ops, join_heads(ops.attend(part(0), part(1), part(2), {}, 0, {.bias = bias}).out));
    return roll(ops.unwindows(y, {M}, {H, W}), shift).reshape({B, H * W, C});
  }

  Tensor merged(const Ops& ops, std::int64_t H, std::int64_t W) const {
    const auto B = x.extent(0), C = x.extent(2);
    if (H % 2 || W % 2) fail("parameter input_resolution", "even numbers", Shape{H, W}.text());
    // (row, column) of a patch: the column is the slower one.
    const Tensor patches = x.reshape({B, H / 2, 2, W / 2, 2, C}).permute({0, 1, 3, 4, 2, 5}).reshape({B, H * W / 4, 4 * C});
    return ops.linear(norm(ops, patches), reduction);
  }

  void run(Ops& ops) override {
    const auto N = x.extent(1);
    std::int64_t side = 0;
    while (side * side < N) ++side;
    if (input_resolution.empty()) input_resolution = {side, side};
    const auto H = input_resolution.front(), W = input_resolution.back();
    if (input_resolution.size() > 2 || H * W != N) fail("input x", "H W = " + std::to_string(H * W) + " tokens", std::to_string(N));
    if (op == "patch_merging") {
      out = merged(ops, H, W);
      return;
    }
    attn = attention(ops, norm1(ops, x), H, W);
    out = ops.add(x, attn);
    out = ops.add(out, fc2.linear(ops, ops.gelu(fc1.linear(ops, norm2(ops, out)))));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(swin, Swin, "swin", "local", "module", 1, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows")
