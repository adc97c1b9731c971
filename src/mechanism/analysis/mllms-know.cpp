// SPDX-License-Identifier: Apache-2.0
// MLLMs know where to look (Zhang et al., 2025), the adaptive crop: of windows of several sizes over a map of attention, the one whose
// sum stands out most from its four neighbours', a cell; its centre becomes the crop's, kept inside the image.
#include <algorithm>
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct MllmsKnow : Mechanism {
  Tensor att_maps, sizes, out;
  std::vector<double> ratios{1, 1.2, 1.4, 1.6, 1.8, 2};

  void describe(Declaration& d) override {
    d.no_gradients("a choice of a window");
    d.param("ratios", ratios, "sizes of the crop over bbox_size, tried in this order").least(0.01).most(1e6);
    d.input("att_maps", att_maps, "E hmax wmax", "maps; example i uses its first h rows and w columns").between("0", "1");
    d.input("sizes", sizes, "E 5", "image width, image height, h, w, bbox_size")
        .of(DType::i64)
        .within("1", "2147483647")
        .example({"336", "336", "hmax", "wmax", "224"});
    d.size("E", "4");
    d.size("hmax", "24");
    d.size("wmax", "24");
    d.output("out", out, "E 4", "x1, y1, x2, y2").of(DType::i64);
  }

  struct Window {
    double stands_out = -1, ratio = 1;
    std::int64_t x = 0, y = 0, wide = 0, high = 0;
  };

  /// The largest sum of a window of this size, and how much it stands out; nothing where it covers the map.
  static bool best(const float* map, std::int64_t stride, std::int64_t h, std::int64_t w, Window& window) {
    const auto across = w - window.wide + 1, down = h - window.high + 1;
    if (across == 1 && down == 1) return false;
    std::vector<double> sums(std::size_t(across * down));
    std::int64_t top = 0;
    for (std::int64_t x = 0; x < across; ++x)
      for (std::int64_t y = 0; y < down; ++y) {
        double& sum = sums[std::size_t(x * down + y)];
        for (std::int64_t j = 0; j < window.high; ++j)
          for (std::int64_t i = 0; i < window.wide; ++i) sum += map[(y + j) * stride + x + i];
        if (sum > sums[std::size_t(top)]) top = x * down + y;
      }
    window.x = top / down, window.y = top % down;
    double around = 0;
    int count = 0;
    for (const auto& [dx, dy] : {std::pair<int, int>{-1, 0}, {1, 0}, {0, -1}, {0, 1}}) {
      const auto x = window.x + dx, y = window.y + dy;
      if (x < 0 || x >= across || y < 0 || y >= down) continue;
      around += sums[std::size_t(x * down + y)];
      ++count;
    }
    window.stands_out = (sums[std::size_t(top)] - around / count) / double(window.wide * window.high);
    return true;
  }

  void run(Ops&) override {
    if (ratios.empty()) fail("parameter ratios", "one or more", "none");
    const Tensor maps = att_maps.dense(), all = sizes.dense();
    const auto hmax = maps.extent(1), wmax = maps.extent(2);
    out = Tensor(DType::i64, {maps.extent(0), 4});
    for (std::int64_t e = 0; e < maps.extent(0); ++e) {
      const auto* s = all.data<std::int64_t>() + 5 * e;
      const auto width = s[0], height = s[1], h = s[2], w = s[3], box = s[4];
      if (h > hmax || w > wmax)
        fail("input sizes", "maps of up to " + std::to_string(hmax) + " by " + std::to_string(wmax),
             std::to_string(h) + " by " + std::to_string(w));
      const double block_x = double(width) / double(w), block_y = double(height) / double(h);
      Window chosen;
      bool found = false, whole = false;
      for (const double ratio : ratios) {
        Window window;
        window.ratio = ratio;
        window.wide = std::min(std::int64_t(double(box) * ratio / block_x), w);
        window.high = std::min(std::int64_t(double(box) * ratio / block_y), h);
        if (!best(maps.data<float>() + e * hmax * wmax, wmax, h, w, window)) {
          if (ratio != 1) continue;
          whole = true;  // as released: the image as it is, whatever the other ratios say
          break;
        }
        // As released: a window of no cells, whose mean is no number, is kept against all others.
        if (!found || (!std::isnan(chosen.stands_out) && !(window.stands_out <= chosen.stands_out))) chosen = window, found = true;
      }
      auto* to = out.data<std::int64_t>() + 4 * e;
      if (whole || !found) {  // no window is smaller than the map
        to[0] = to[1] = 0, to[2] = width, to[3] = height;
        continue;
      }
      const auto half = std::int64_t(double(box) * chosen.ratio) / 2;
      const auto centre = [half](std::int64_t position, std::int64_t cells, double block, std::int64_t size) {
        const auto c = std::max(std::int64_t(double(position) * block + block * double(cells) / 2), half);
        return std::min(c, size - half);
      };
      const auto x = centre(chosen.x, chosen.wide, block_x, width), y = centre(chosen.y, chosen.high, block_y, height);
      to[0] = std::clamp<std::int64_t>(x - half, 0, width), to[2] = std::clamp<std::int64_t>(x + half, 0, width);
      to[1] = std::clamp<std::int64_t>(y - half, 0, height), to[3] = std::clamp<std::int64_t>(y + half, 0, height);
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(mllms_know, MllmsKnow, "mllms-know", "analysis", "algorithm", 2,
               "MLLMs Know Where to Look: Training-free Perception of Small Visual Details with Multimodal LLMs")
