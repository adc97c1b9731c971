// SPDX-License-Identifier: Apache-2.0
// Neighborhood attention over 1 to 3 axes (NATTEN, Hassani et al., 2023 and 2024). Along an axis, among the places of the query's
// residue modulo the dilation, a query at pos of len looks at `kernel` keys from clamp(pos - kernel/2, 0, len - kernel): shifted
// inside at the borders; along a causal axis at pos - kernel + 1 to pos. One softmax over scale q . k + rpb[offset of the key].
#include "mechanism/mechanism.h"
#include "heed/ops.h"

namespace heed::mechanism {
namespace {

struct FusedNeighborhoodAttention : Mechanism {
  Tensor q, k, v, rpb, out, lse, weights;
  std::vector<std::int64_t> kernel_size{7}, dilation{1};
  std::vector<bool> is_causal{false};
  std::optional<double> scale;

  void describe(Declaration& d) override {
    d.param("kernel_size", kernel_size, "keys along each axis, or along all").least(1).most(1 << 20);
    d.param("dilation", dilation, "distance of neighbouring keys along each axis, or along all").least(1);
    d.param("is_causal", is_causal, "keys up to the query alone, along each axis, or along all");
    d.param("scale", scale, "of the scores").computed("1/sqrt(D)");
    d.input("q", q, "B *spatial H D", "queries");
    d.input("k", k, "B *spatial H D", "keys");
    d.input("v", v, "B *spatial H E", "values");
    d.weight("rpb", rpb, "H *offsets", "added to the scores: 2 kernel - 1 offsets (key - query) along each axis").optional();
    if (kernel_size.empty()) fail("parameter kernel_size", "one value, or one for each axis", "none");
    std::string offsets;
    for (std::size_t axis = 0; axis < std::max<std::size_t>(2, kernel_size.size()); ++axis)
      offsets += std::to_string(2 * kernel_size[std::min(axis, kernel_size.size() - 1)] - 1) + " ";
    d.size("side", "int(sqrt(N))");
    d.size("*spatial", kernel_size.size() == 3 ? "side side side" : "side side");
    d.size("*offsets", offsets);
    d.output("out", out, "B *spatial H E");
    d.output("lse", lse, "B *spatial H", "natural log of the sum of exponentials");
    d.output("weights", weights, "B *spatial H window", "places of the window in row-major order, 0 where a causal axis has no key yet");
  }

  struct Neighbour {
    std::int64_t key, offset, place;  ///< offset of the relative bias, place in the window
  };
  /// The keys of each place of an axis.
  static std::vector<std::vector<Neighbour>> neighbours(std::int64_t length, std::int64_t kernel, std::int64_t dilation, bool causal) {
    if (!causal && length / dilation < kernel)
      fail("input q", "axes of at least kernel_size * dilation = " + std::to_string(kernel * dilation), std::to_string(length));
    std::vector<std::vector<Neighbour>> lists;
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t residue = i % dilation, pos = i / dilation, count = (length - residue + dilation - 1) / dilation;
      const std::int64_t first =
          causal ? std::max<std::int64_t>(0, pos - kernel + 1) : std::min(std::max<std::int64_t>(pos - kernel / 2, 0), count - kernel);
      const std::int64_t last = causal ? pos : first + kernel - 1;
      lists.emplace_back();
      for (std::int64_t j = first; j <= last; ++j) lists.back().push_back({j * dilation + residue, j - pos + kernel - 1, j - first});
    }
    return lists;
  }

  void run(Ops& ops) override {
    const int axes = q.rank() - 3;
    const auto B = q.extent(0), H = q.extent(-2), E = v.extent(-1);
    if (axes < 1 || axes > 3) fail("input q", "(B *spatial H D) with 1 to 3 spatial axes", q.shape().text());
    auto wide = q.shape().vector();
    if (k.shape() != q.shape()) fail("input k", q.shape().text(), k.shape().text());
    wide.back() = E;
    if (v.shape() != Shape(wide)) fail("input v", Shape(wide).text(), v.shape().text());
    const auto each = [&](const auto& list, int axis, const char* name) {
      if (list.size() != 1 && list.size() != std::size_t(axes))
        fail(std::string("parameter ") + name, "one value or " + std::to_string(axes), std::to_string(list.size()));
      return list[list.size() == 1 ? 0 : std::size_t(axis)];
    };
    std::vector<std::vector<std::vector<Neighbour>>> along;
    std::vector<std::int64_t> kernels, table{H};
    std::int64_t N = 1, K = 1;
    for (int a = 0; a < axes; ++a) {
      const bool causal = each(is_causal, a, "is_causal");
      kernels.push_back(each(kernel_size, a, "kernel_size"));
      along.push_back(neighbours(q.extent(1 + a), kernels.back(), each(dilation, a, "dilation"), causal));
      table.push_back(2 * kernels.back() - 1);
      N *= q.extent(1 + a), K *= kernels.back();
      if (causal && rpb.defined()) fail("weight rpb", "none with a causal axis", "one");
    }
    if (rpb.defined() && rpb.shape() != Shape(table)) fail("weight rpb", Shape(table).text(), rpb.shape().text());
    // The window of each query, row-major, with the place of each key in the table of relative biases.
    const Tensor keys(DType::i64, {B, N, K}), offsets(DType::i64, {N * K});
    auto *key = keys.data<std::int64_t>(), *offset = offsets.data<std::int64_t>();
    std::fill(key, key + B * N * K, std::int64_t(-1));
    std::fill(offset, offset + N * K, std::int64_t(0));
    for (std::int64_t i = 0; i < N; ++i) {
      std::vector<Neighbour> window{{0, 0, 0}};
      std::int64_t rest = i, inside = N;
      for (int a = 0; a < axes; ++a) {
        inside /= q.extent(1 + a);
        std::vector<Neighbour> wider;
        for (const auto& w : window)
          for (const auto& n : along[std::size_t(a)][std::size_t(rest / inside)])
            wider.push_back({w.key * q.extent(1 + a) + n.key, w.offset * (2 * kernels[std::size_t(a)] - 1) + n.offset,
                             w.place * kernels[std::size_t(a)] + n.place});
        window = std::move(wider);
        rest %= inside;
      }
      for (const auto& w : window) key[i * K + w.place] = w.key, offset[i * K + w.place] = w.offset;
    }
    for (std::int64_t b = 1; b < B; ++b) std::copy(key, key + N * K, key + b * N * K);
    Tensor bias;
    if (rpb.defined()) {
      const Tensor one = ops.index_select(rpb.reshape({H, rpb.count() / H}).transpose(0, 1), 0, offsets);
      bias = one.reshape({1, N * K, H}).broadcast({B, N * K, H}).reshape({B * N * K, H});
    }
    ListOptions o;
    if (scale) o.scale = float(*scale);
    const auto flat = [&](const Tensor& t) { return t.reshape({B * N, H, t.extent(-1)}); };
    const unsigned extras = (wants(lse) ? unsigned(want_lse) : 0u) | (wants(weights) ? unsigned(want_weights) : 0u);
    const auto got = ops.attend_lists({.q = flat(q), .k = flat(k), .v = flat(v), .bias = bias}, lists_of_table(keys, N), o, extras);
    auto spatial = q.shape().vector();
    const auto shaped = [&](const Tensor& t, std::int64_t last) {
      spatial.back() = last;
      return t.reshape(Shape(spatial));
    };
    out = shaped(got.out, E);
    if (wants(weights)) weights = shaped(got.weights.reshape({B * N, K, H}).transpose(1, 2), K);
    spatial.pop_back();
    if (wants(lse)) lse = got.lse.reshape(Shape(spatial));
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(fused_neighborhood_attention, FusedNeighborhoodAttention, "fused-neighborhood-attention", "local", "op", 1,
               "Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the Threadblock Level")
