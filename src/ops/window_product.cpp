// SPDX-License-Identifier: Apache-2.0
// Two ways: windows that stand in line with what they read are read where they lie, lanes beyond the map masked; maps of longer steps are
// parted before into their phases, over which windows stand an element apart. Others are packed by panels, some channels at a time. The
// transpose is a product for each phase.
#include "ops/window_product.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernel/product.h"
#include "ops/lanes.h"

namespace heed::ops {

namespace {

using product::panel;

std::int64_t over(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// How the panels of each of some jobs and its outputs are parted into tasks: what the slowest thread is given should be least.
struct Parts {
  std::int64_t panels, outputs;
};
Parts parts_of(int workers, std::int64_t jobs, std::int64_t panels, std::int64_t most, std::int64_t depth, std::int64_t outputs,
               double packing) {
  constexpr std::int64_t least = 1 << 17;  // products of a thread
  if (jobs * panels * panel * depth * outputs < least) workers = 1;
  Parts best{1, 1};
  double lowest = 1e300;
  for (std::int64_t part = 1; part <= 4 && (part == 1 || outputs / part >= 24); ++part)
    for (std::int64_t cut = over(panels, most); cut < over(panels, most) + workers && cut <= panels; ++cut) {
      const double rounds = double(over(jobs * part * cut, workers)), size = double(panels) / double(cut),
                   cost = rounds * size * (packing + double(over(outputs, part)));
      if (cost < 0.99 * lowest) lowest = cost, best = {cut, part};
    }
  return best;
}

/// A task's share.
struct Share {
  std::int64_t job, panel, panels, output, outputs;

  Share(const Parts& parts, std::int64_t task, std::int64_t panels_of_all, std::int64_t outputs_of_all) {
    const std::int64_t cut = task % parts.panels, part = task / parts.panels % parts.outputs;
    job = task / parts.panels / parts.outputs;
    panel = panels_of_all * cut / parts.panels, panels = panels_of_all * (cut + 1) / parts.panels - panel;
    output = outputs_of_all * part / parts.outputs, outputs = outputs_of_all * (part + 1) / parts.outputs - output;
  }
};

/// Windows [0, places) of each image, read where they lie.
void multiply_in_line(const Context& context, const Reading& reading, const WindowProduct& job, std::int64_t places) {
  const auto& loops = kernel::maps_of(context.isa);
  const auto multiply_strip = job.loops ? loops.paired_windows : loops.windows;
  const Reader reader(loops, reading);
  const std::int64_t taps = reading.count(), K = job.channels * taps, all = product_of(reading.out), panels = over(places, panel),
                     some = over(job.channels, over(K, product::depth)), jobs = job.batch * job.groups;
  const auto offsets = reader.offsets();
  const auto reaches = reader.reaches();
  const Parts parts = parts_of(base::thread_count(context.threads), jobs, panels, 32, K, job.outputs, 0);
  base::parallel(context.threads, jobs * parts.outputs * parts.panels, [&](std::int64_t task, int) {
    const Share share(parts, task, panels, job.outputs);
    const std::int64_t row = share.job % job.groups * job.outputs + share.output;
    const float *factors = job.weight + row * K, *maps = job.maps + share.job * job.channels * reading.channel;
    float* to = job.out + (share.job * job.outputs + share.output) * all;
    std::vector<std::int64_t> strips{share.panel};  // of one to four panels
    for (std::int64_t left; (left = share.panel + share.panels - strips.back()) > 0;)
      strips.push_back(strips.back() + (left == 5 ? 3 : std::min<std::int64_t>(4, left)));
    const std::size_t count = strips.size() - 1;
    std::vector<std::uint16_t> lanes(count * std::size_t(4 * taps));
    for (std::size_t i = 0; i < count; ++i) reader.lanes(strips[i] * panel, &lanes[i * std::size_t(4 * taps)]);
    const auto multiply = [&](std::size_t i, std::int64_t c) {
      const std::int64_t at = strips[i] * panel;
      multiply_strip({maps + c * reading.channel + at, reading.channel, std::min(some, job.channels - c), taps, offsets.data(),
                      &lanes[i * std::size_t(4 * taps)]},
                     factors + c * taps, K, share.outputs, c == 0 ? job.start + row : nullptr, to + at, all,
                     std::min(strips[i + 1] * panel, places) - at);
    };
    // What strip i reads of the channels from c on, or only what no strip before it did. Inlined: a call of hints alone is left out.
    const auto ask = [&](std::size_t i, std::int64_t c, bool first) __attribute__((always_inline)) {
      if (i >= count || c >= job.channels) return;
      for (std::int64_t channel = c; channel < std::min(c + some, job.channels); ++channel)
        for (const auto& reach : reaches)
          for (std::int64_t at = (first ? reach.first : reach.last) + strips[i] * panel; at < reach.last + strips[i + 1] * panel; at += 16)
            __builtin_prefetch(maps + channel * reading.channel + at);
    };
    for (std::int64_t c = 0; c < job.channels; c += some)
      for (std::size_t i = 0; i < count; ++i) {
        ask(i + 1, c, false);
        if (i + 1 == count) ask(0, c + some, true);
        multiply(i, c);
      }
  });
}

/// Windows [from, places) of each image, packed.
void multiply_packed(const Context& context, const Reading& reading, const WindowProduct& job, std::int64_t from) {
  const auto& maps = kernel::maps_of(context.isa);
  const auto& loops = job.loops ? *job.loops : product::loops_of(context.isa);
  const Reader reader(maps, reading);
  const std::int64_t taps = reading.count(), K = job.channels * taps, places = product_of(reading.out), each = places - from,
                     all = job.batch * each, panels = over(all, panel), image = job.groups * job.channels * reading.channel,
                     some = over(job.channels, over(K, product::depth)),  // channels packed at a time
      most = std::clamp<std::int64_t>(8192 / (product::depth + job.outputs), 4, 16);
  const Parts parts = parts_of(base::thread_count(context.threads), job.groups, panels, most, K, job.outputs, 6);
  base::parallel(context.threads, job.groups * parts.outputs * parts.panels, [&](std::int64_t task, int) {
    const Share share(parts, task, panels, job.outputs);
    const std::int64_t row = share.job * job.outputs + share.output, first = share.panel * panel, wide = share.panels * panel;
    float* packed = product::scratch(wide * (some * taps + share.outputs));
    float* sums = packed + wide * some * taps;
    const float* factors = job.weight + row * K;
    for (std::int64_t c = 0; c < job.channels; c += some) {
      const std::int64_t channels = std::min(some, job.channels - c), deep = channels * taps, cuts = over(deep, 3 * product::depth / 2);
      for (std::int64_t i = 0; i < share.panels; ++i)
        reader.pack(job.maps + (share.job * job.channels + c) * reading.channel, image, channels, from, first + i * panel, all,
                    packed + i * deep * panel);
      for (std::int64_t i = 0; i < cuts; ++i) {
        const std::int64_t k = deep * i / cuts, depth = deep * (i + 1) / cuts - k;
        loops.f32({factors + c * taps + k, K, 1, product::most_rows * K}, packed + k * panel, panel, deep * panel, depth, share.outputs,
                  wide, sums, wide, c + k > 0);
      }
    }
    for (std::int64_t at = first, count; at < std::min(all, first + wide); at += count) {
      count = std::min({each - at % each, first + wide - at, all - at});
      float* to = job.out + (at / each * job.groups * job.outputs + row) * places + from + at % each;
      for (std::int64_t o = 0; o < share.outputs; ++o)
        maps.affine(sums + o * wide + at - first, 1, job.start[row + o], to + o * places, count);
    }
  });
}

/// A reading of longer steps as one of maps parted by their phases, those that some tap reads, where that is in line.
struct Phases {
  Reading reading;
  std::array<std::vector<std::int64_t>, 3> used;
  std::int64_t plane;

  explicit Phases(const Reading& r) : reading({r.in[0] / r.step[0], r.in[1] / r.step[1], r.in[2] / r.step[2]}, r.out) {
    plane = over(product_of(reading.in), panel) * panel;
    for (int a = 2; a >= 0; --a) {
      const auto axis = std::size_t(a);
      const std::int64_t step = r.step[axis], apart = a == 2 ? plane : a == 1 ? plane * count(2) : plane * count(2) * count(1);
      for (std::int64_t p = 0; p < step; ++p)
        if (std::any_of(r.taps[axis].begin(), r.taps[axis].end(), [&](std::int64_t tap) { return (tap - p) % step == 0; }))
          used[axis].push_back(p);
      for (const std::int64_t tap : r.taps[axis]) {
        const std::int64_t phase = (tap % step + step) % step;
        reading.add(a, (tap - phase) / step, apart * (std::find(used[axis].begin(), used[axis].end(), phase) - used[axis].begin()));
      }
    }
    reading.channel = plane * count(0) * count(1) * count(2);
  }
  std::int64_t count(int axis) const { return std::int64_t(used[std::size_t(axis)].size()); }

  /// Nor where windows share nothing: parting would be all the work of packing.
  static bool fit(const Reading& r) {
    for (std::size_t a = 0; a < 3; ++a)
      if (r.in[a] % r.step[a] != 0) return false;
    return product_of(r.step) < r.count() && r.out[2] * r.step[2] == r.in[2] && (r.out[0] == 1 || r.out[1] * r.step[1] == r.in[1]);
  }
  /// One map to its phases.
  void part(const kernel::MapTable& loops, const Reading& r, const float* x, float* to) const {
    const Triple& small = reading.in;
    for (const std::int64_t d : used[0])
      for (const std::int64_t h : used[1]) {
        const auto line = [&](std::int64_t row) {
          return ((row / small[1] * r.step[0] + d) * r.in[1] + row % small[1] * r.step[1] + h) * r.in[2];
        };
        if (r.step[2] <= 2) {
          for (const std::int64_t w : used[2]) {
            for (std::int64_t row = 0; row < small[0] * small[1]; ++row)
              loops.skip(x + line(row) + w, r.step[2], to + row * small[2], small[2]);
            to += plane;
          }
          continue;
        }
        for (std::size_t i = 0; i < used[2].size();) {
          int count = 1;
          while (count < 4 && i + std::size_t(count) < used[2].size() && used[2][i + std::size_t(count)] == used[2][i] + count) ++count;
          for (std::int64_t first = 0, all = product_of(small); first < all; first += panel) {
            std::int64_t at[panel] = {};
            std::uint8_t inside[panel] = {};
            for (std::int64_t l = 0; l < panel && first + l < all; ++l) {
              at[l] = line((first + l) / small[2]) + (first + l) % small[2] * r.step[2] + used[2][i];
              inside[l] = std::uint8_t((1 << count) - 1);
            }
            loops.quads(x, 0, 1, at, inside, count, to + first, plane, 0);
          }
          to += count * plane, i += std::size_t(count);
        }
      }
  }
};

}  // namespace

void multiply_windows(const Context& context, const Reading& reading, const WindowProduct& job) {
  const std::int64_t places = product_of(reading.out), outputs = job.batch * job.groups * job.outputs;
  if (places == 0 || outputs == 0) return;
  if (reading.count() * job.channels == 0) {
    for (std::int64_t i = 0; i < outputs; ++i) std::fill_n(job.out + i * places, places, job.start[i % (job.groups * job.outputs)]);
    return;
  }
  const auto& loops = kernel::maps_of(context.isa);
  std::int64_t done = 0;
  if ((!job.loops || loops.paired_windows) && reading.out[2] >= loops.least_in_line && (reading.in_line() || Phases::fit(reading))) {
    const std::int64_t rest = places % panel, saved = job.batch - over(job.batch * rest, panel);
    done = 20 * saved > job.batch * over(places, panel) ? places - rest : places;  // windows of several images fill a panel: packed
    if (reading.in_line()) {
      multiply_in_line(context, reading, job, done);
    } else if (done > 0) {
      const Phases phases(reading);
      const std::int64_t maps = job.batch * job.groups * job.channels;
      const Tensor parted(DType::f32, {maps, phases.reading.channel});
      pieces(context.threads, maps, 16384 / reading.channel, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          phases.part(loops, reading, job.maps + i * reading.channel, parted.raw<float>() + i * phases.reading.channel);
      });
      WindowProduct over_phases = job;
      over_phases.maps = parted.raw<float>();
      multiply_in_line(context, phases.reading, over_phases, done);
    }
  }
  if (done < places) multiply_packed(context, reading, job, done);
}

namespace {
/// The elements p, p + stride, ... of each axis that windows are added up to: what they read of the windows, and by which taps.
struct Part {
  Triple phase;
  Reading reading;
  std::vector<std::int64_t> taps;
  Tensor weight, out;

  Part(const Sliding& s, const Triple& p) : phase(p), reading(s.out, extents(s, p)) {
    std::array<std::vector<std::int64_t>, 3> along;
    for (std::size_t a = 0; a < 3; ++a)
      for (std::int64_t k = 0; k < s.kernel[a]; ++k) {
        const std::int64_t from = p[a] + s.before[a] - k * s.dilation[a];
        if (from % s.stride[a] == 0) along[a].push_back(k), reading.add(int(a), from / s.stride[a]);
      }
    for (const std::int64_t d : along[0])
      for (const std::int64_t h : along[1])
        for (const std::int64_t w : along[2]) taps.push_back((d * s.kernel[1] + h) * s.kernel[2] + w);
  }
  static Triple extents(const Sliding& s, const Triple& p) {
    Triple all;
    for (std::size_t a = 0; a < 3; ++a) all[a] = std::max<std::int64_t>(0, over(s.in[a] - p[a], s.stride[a]));
    return all;
  }
};
}  // namespace

void spread_windows(const Context& context, const Sliding& s, const WindowProduct& job) {
  const auto& loops = kernel::maps_of(context.isa);
  const std::int64_t I = job.outputs, O = job.channels, T = s.taps(), maps = job.batch * job.groups * I;
  const bool dense = product_of(s.stride) == 1;
  std::vector<Part> parts;
  for (std::int64_t d = 0; d < s.stride[0]; ++d)
    for (std::int64_t h = 0; h < s.stride[1]; ++h)
      for (std::int64_t w = 0; w < s.stride[2]; ++w) {
        Part& part = parts.emplace_back(s, Triple{d, h, w});
        part.weight = Tensor(DType::f32, {job.groups * I, O * part.reading.count()});
        if (!dense) part.out = Tensor(DType::f32, {maps, product_of(part.reading.out)});
      }
  pieces(context.threads, job.groups * I, 16384 / (O * T + 1), [&](std::int64_t begin, std::int64_t end) {
    for (const Part& part : parts) {
      const auto taps = std::int64_t(part.taps.size());
      const std::int64_t* from = part.taps.data();
      for (std::int64_t o = 0; o < O; ++o)
        for (std::int64_t i = begin; i < end; ++i) {
          const float* weight = job.weight + ((i / I * O + o) * I + i % I) * T;
          float* to = part.weight.raw<float>() + (i * O + o) * taps;
          for (std::int64_t t = 0; t < taps; ++t) to[t] = weight[from[t]];
        }
    }
  });
  for (const Part& part : parts)
    multiply_windows(context, part.reading,
                     {job.maps, part.weight.raw<float>(), job.start, dense ? job.out : part.out.raw<float>(), job.batch, job.groups, O, I});
  if (dense) return;
  pieces(context.threads, maps, 16384 / (product_of(s.in) + 1), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t map = begin; map < end; ++map)
      for (std::size_t i = 0; i < parts.size(); i += std::size_t(s.stride[2])) {
        const Triple &phase = parts[i].phase, &high = parts[i].reading.out;
        for (std::int64_t row = 0; row < high[0] * high[1]; ++row) {
          const std::int64_t d = row / high[1] * s.stride[0] + phase[0], h = row % high[1] * s.stride[1] + phase[1];
          float* to = job.out + ((map * s.in[0] + d) * s.in[1] + h) * s.in[2];
          const auto extent = [&](std::int64_t w) { return parts[i + std::size_t(w)].reading.out[2]; };
          const auto from = [&](std::int64_t w) {
            return parts[i + std::size_t(w)].out.raw<float>() + (map * high[0] * high[1] + row) * extent(w);
          };
          if (s.stride[2] == 2) {
            loops.weave(from(0), from(1), to, extent(1));
            if (extent(0) > extent(1)) to[2 * extent(1)] = from(0)[extent(1)];
          } else {
            for (std::int64_t w = 0; w < s.stride[2]; ++w)
              for (std::int64_t e = 0; e < extent(w); ++e) to[e * s.stride[2] + w] = from(w)[e];
          }
        }
      }
  });
}

}  // namespace heed::ops
