// SPDX-License-Identifier: Apache-2.0
// Frequency channel attention (FcaNet, Qin et al., 2021): group i of the channels is squeezed by the 2-D DCT basis of frequency
// (u_i, v_i) in place of the mean, b(h, u) b(w, v) with b(p, f) = cos(pi f (p + 1/2) / L) / sqrt(L), times sqrt(2) for f > 0;
//   out = x sigmoid(W2 relu(W1 spectrum)).
#include <algorithm>
#include <cmath>

#include "mechanism/maps.h"

namespace heed::mechanism {
namespace {

using Frequencies = std::vector<std::int64_t>;

/// Along the height and the width of a 7x7 grid, the most useful (top), lowest and least useful (bot) first.
struct Ranking {
  const char* name;
  Frequencies x, y;
};
const Ranking rankings[] = {
    {"top",
     {0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2, 4, 6, 3, 5, 5, 2, 6, 5, 5, 3, 3, 4, 2, 2, 6, 1},
     {0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2, 6, 3, 3, 3, 5, 1, 1, 2, 4, 2, 1, 1, 3, 0, 5, 3}},
    {"low",
     {0, 0, 1, 1, 0, 2, 2, 1, 2, 0, 3, 4, 0, 1, 3, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4},
     {0, 1, 0, 1, 2, 0, 1, 2, 2, 3, 0, 0, 4, 3, 1, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3}},
    {"bot",
     {6, 1, 3, 3, 2, 4, 1, 2, 4, 4, 5, 1, 4, 6, 2, 5, 6, 1, 6, 2, 2, 4, 3, 3, 5, 5, 6, 2, 5, 5, 3, 6},
     {6, 4, 4, 6, 6, 3, 1, 4, 4, 5, 6, 5, 2, 2, 5, 1, 4, 3, 5, 0, 3, 1, 1, 2, 4, 2, 1, 1, 5, 3, 3, 3}},
};

double basis(std::int64_t place, std::int64_t frequency, std::int64_t length) {
  const double wave = std::cos(M_PI * double(frequency) * (double(place) + 0.5) / double(length)) / std::sqrt(double(length));
  return frequency == 0 ? wave : wave * std::sqrt(2.0);
}

struct FcaNet : Mechanism {
  Tensor x, out, spectrum, gate, dct, down, up;
  std::optional<std::int64_t> channel;
  std::int64_t dct_h = 7, dct_w = 7, reduction = 16;
  std::string freq_sel_method = "top16";
  std::optional<Frequencies> mapper_x, mapper_y;

  void describe(Declaration& d) override {
    std::vector<std::string> methods;
    for (const auto& ranking : rankings)
      for (const int count : {1, 2, 4, 8, 16, 32}) methods.push_back(ranking.name + std::to_string(count));
    d.param("channel", channel, "channels").computed("C");
    d.param("dct_h", dct_h, "height to which a map of another is pooled").least(1);
    d.param("dct_w", dct_w, "width to which it is pooled").least(1);
    d.param("reduction", reduction, "the inner width is channel/reduction").least(1);
    d.param("freq_sel_method", freq_sel_method, "which frequencies of a 7x7 grid: the most useful, the lowest or the least useful")
        .one_of(methods);
    d.param("mapper_x", mapper_x, "frequencies along the height").computed("by freq_sel_method");
    d.param("mapper_y", mapper_y, "frequencies along the width").computed("by freq_sel_method");
    d.input("x", x, "B channel H W", "maps");
    d.weight("dct_layer.weight", dct, "channel dct_h dct_w", "the basis of each channel; computed unless given").no_gradient().optional();
    d.weight("fc.0.weight", down, "channel//reduction channel");
    d.weight("fc.2.weight", up, "channel channel//reduction");
    d.output("out", out, "B channel H W");
    d.output("spectrum", spectrum, "B channel");
    d.output("gate", gate, "B channel");
  }

  Tensor filters(std::int64_t C) const {
    Frequencies u, v;
    for (const auto& ranking : rankings) {
      if (freq_sel_method.rfind(ranking.name, 0) != 0) continue;
      const auto count = std::stoi(freq_sel_method.substr(3));
      u.assign(ranking.x.begin(), ranking.x.begin() + count), v.assign(ranking.y.begin(), ranking.y.begin() + count);
    }
    if (mapper_x) u = *mapper_x;
    if (mapper_y) v = *mapper_y;
    const auto groups = std::int64_t(u.size());
    if (u.empty() || u.size() != v.size())
      fail("parameters mapper_x, mapper_y", "as many frequencies", Shape{groups, std::int64_t(v.size())}.text());
    if (C % groups) fail("input x", "channels in multiples of " + std::to_string(groups), std::to_string(C));
    const Tensor result(DType::f32, {C, dct_h, dct_w});
    if (C == 0) return result;
    const std::int64_t plane = dct_h * dct_w, each = C / groups;
    for (std::int64_t i = 0; i < groups; ++i) {
      float* const first = result.data<float>() + i * each * plane;
      for (std::int64_t h = 0; h < dct_h; ++h)
        for (std::int64_t w = 0; w < dct_w; ++w)
          first[h * dct_w + w] = float(basis(h, u[std::size_t(i)] * (dct_h / 7), dct_h) * basis(w, v[std::size_t(i)] * (dct_w / 7), dct_w));
      for (std::int64_t c = 1; c < each; ++c) std::copy_n(first, plane, first + c * plane);
    }
    return result;
  }

  void run(Ops& ops) override {
    const bool fits = x.extent(2) == dct_h && x.extent(3) == dct_w;
    const Tensor small = fits ? x : ops.adaptive_average_pool(x, {dct_h, dct_w});
    spectrum = ops.sum(ops.mul(small, dct.defined() ? dct : filters(x.extent(1))), {2, 3});
    gate = ops.sigmoid(ops.linear(ops.relu(ops.linear(spectrum, down)), up));
    out = gated(ops, x, gate);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(fcanet, FcaNet, "fcanet", "featuremap", "module", 2, "FcaNet: Frequency Channel Attention Networks")
