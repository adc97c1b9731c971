// SPDX-License-Identifier: Apache-2.0
// Convolutions of many geometries, and products of bf16 under "fast", beside sums in f64: every way of reading windows, on every
// instruction set, the same bits on one thread and on three.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "heed/ops.h"

using namespace heed;

namespace {

struct Case {
  std::int64_t batch, inputs, high, wide, outputs, kernel, across, stride, padding, dilation = 1, groups = 1;
  bool transposed = false;

  std::string text() const {
    std::string all;
    for (const auto n : {batch, inputs, high, wide, outputs, kernel, across, stride, padding, dilation, groups})
      all += std::to_string(n) + " ";
    return all + (transposed ? "transposed" : "");
  }
};

const Case cases[] = {
    {1, 5, 9, 16, 7, 3, 3, 1, 1},           // in line: windows beside each other read elements beside each other
    {2, 12, 14, 14, 19, 3, 3, 1, 1},        // rows shorter than a vector
    {5, 9, 7, 7, 13, 3, 3, 1, 1},           // the last windows of several images fill a panel
    {1, 3, 30, 37, 8, 5, 3, 1, 2},          // padding that keeps neither axis
    {1, 70, 6, 33, 5, 3, 5, 1, 2},          // more channels than are summed at once
    {2, 8, 28, 28, 6, 3, 3, 1, 2, 2},       // dilated
    {2, 32, 12, 29, 32, 3, 3, 1, 1, 1, 4},  // groups
    {3, 5, 11, 13, 9, 1, 1, 1, 0},          // no window at all, one tap
    {1, 3, 64, 64, 10, 7, 7, 2, 3},         // phases: the map is twice the windows
    {2, 6, 20, 52, 8, 3, 3, 2, 1, 1, 2},    // the same with groups
    {3, 4, 15, 17, 5, 3, 3, 2, 1},          // a step of two that does not divide the map
    {1, 4, 33, 50, 6, 3, 2, 2, 0, 2},       // ... dilated
    {1, 3, 48, 64, 12, 16, 16, 16, 0},      // patches
    {2, 3, 30, 33, 7, 7, 7, 4, 3},          // long steps with padding
    {1, 2, 40, 41, 4, 5, 3, 3, 2, 3},       // long steps, dilated
    {2, 7, 13, 12, 6, 1, 1, 2, 0},          // most elements are not read
    {2, 6, 14, 14, 6, 5, 5, 1, 2, 1, 6},    // depthwise: seven rows at a time
    {1, 1, 40, 37, 2, 3, 4, 1, 1},          // ... of one map, two outputs
    {2, 3, 19, 50, 3, 3, 3, 2, 1, 1, 3},    // ... a step of two, rows made twice
    {3, 2, 21, 23, 2, 7, 5, 2, 3, 1, 2},
    {1, 4, 16, 70, 4, 4, 3, 1, 0, 1, 4},
    {2, 5, 9, 9, 5, 2, 2, 1, 1, 1, 5},
    {1, 3, 6, 9, 3, 3, 3, 1, 1, 1, 3},    // ... too low for seven rows
    {1, 2, 24, 20, 2, 9, 9, 1, 4, 1, 2},  // ... a high kernel
    {1, 2, 24, 40, 2, 3, 3, 3, 1, 1, 2},  // ... long steps
    {1, 2, 20, 20, 4, 19, 18, 1, 9},      // a channel alone has more taps than are summed at once
    {2, 12, 14, 14, 10, 4, 4, 2, 1, 1, 1, true},
    {1, 8, 9, 11, 6, 3, 3, 2, 1, 1, 2, true},
    {3, 6, 7, 30, 5, 2, 3, 1, 1, 1, 1, true},
    {1, 5, 6, 8, 4, 2, 2, 3, 0, 1, 1, true},  // elements that no window reaches
    {2, 9, 5, 26, 3, 5, 4, 4, 1, 2, 1, true},
};

Tensor random(std::uint64_t seed, const Shape& shape) {
  const base::Random from(11, seed);
  const Tensor x(DType::f32, shape);
  for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = float(from.normal(std::uint64_t(i)));
  return x;
}

struct Given {
  Tensor x, weight, bias;
  ConvOptions options;

  explicit Given(const Case& c, bool rounded = false)
      : x(random(1, {c.batch, c.inputs, c.high, c.wide})),
        weight(random(2, c.transposed ? Shape{c.inputs, c.outputs / c.groups, c.kernel, c.across}
                                      : Shape{c.outputs, c.inputs / c.groups, c.kernel, c.across})),
        bias(random(3, {c.outputs})) {
    options.stride = {c.stride}, options.padding = {c.padding}, options.dilation = {c.dilation}, options.groups = c.groups;
    options.transposed = c.transposed;
    if (rounded) x = x.to(DType::bf16).to(DType::f32), weight = weight.to(DType::bf16).to(DType::f32);
  }
  Tensor on(Isa isa, int threads, Precision precision = Precision::strict) const {
    return Ops(Context{.threads = threads, .isa = isa, .precision = precision}).conv(x, weight, bias, options);
  }
};

/// Each element of the result and the sum of its terms' sizes.
void reference(const Case& c, const Given& given, const Shape& shape, std::vector<double>& out, std::vector<double>& size) {
  const std::int64_t high = shape[2], wide = shape[3], I = c.inputs / c.groups, O = c.outputs / c.groups;
  out.assign(std::size_t(shape.count()), 0), size = out;
  const float *x = given.x.data<float>(), *w = given.weight.data<float>();
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t o = 0; o < c.outputs; ++o)
      for (std::int64_t i = 0; i < I; ++i)
        for (std::int64_t k = 0; k < c.kernel; ++k)
          for (std::int64_t l = 0; l < c.across; ++l) {
            const std::int64_t input = o / O * I + i;
            const double factor =
                c.transposed ? w[((input * O + o % O) * c.kernel + k) * c.across + l] : w[((o * I + i) * c.kernel + k) * c.across + l];
            // Windows stand on the larger side: y = stride h + dilation k - padding.
            for (std::int64_t h = 0; h < (c.transposed ? c.high : high); ++h)
              for (std::int64_t v = 0; v < (c.transposed ? c.wide : wide); ++v) {
                const std::int64_t y = c.stride * h + c.dilation * k - c.padding, z = c.stride * v + c.dilation * l - c.padding;
                if (y < 0 || z < 0 || y >= (c.transposed ? high : c.high) || z >= (c.transposed ? wide : c.wide)) continue;
                const std::int64_t from = c.transposed ? h * c.wide + v : y * c.wide + z, to = c.transposed ? y * wide + z : h * wide + v;
                const double term = factor * x[(b * c.inputs + input) * c.high * c.wide + from];
                out[std::size_t((b * c.outputs + o) * high * wide + to)] += term;
                size[std::size_t((b * c.outputs + o) * high * wide + to)] += std::abs(term);
              }
          }
}

TEST(Conv, EveryGeometryOnEveryInstructionSet) {
  for (const Case& c : cases)
    for (const Precision precision : {Precision::strict, Precision::fast}) {
      const Given given(c, precision == Precision::fast);  // products of numbers of bf16 are exact
      std::vector<double> want, size;
      reference(c, given, given.on(Isa::avx2, 1).shape(), want, size);
      for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::avx512_bf16_emulated, Isa::amx_emulated}) {
        if (!runs_here(isa)) continue;
        const Tensor one = given.on(isa, 1, precision), many = given.on(isa, 3, precision);
        ASSERT_EQ(std::memcmp(one.data<float>(), many.data<float>(), std::size_t(one.count()) * 4), 0) << c.text() << name_of(isa);
        const std::int64_t places = one.extent(2) * one.extent(3);
        for (std::int64_t i = 0; i < one.count(); ++i)
          ASSERT_NEAR(one.data<float>()[i], want[std::size_t(i)] + given.bias.data<float>()[i / places % c.outputs],
                      1e-5 * (1 + size[std::size_t(i)]))
              << c.text() << name_of(isa) << " at " << i;
      }
    }
}

TEST(Conv, FastRoundsToBf16WhereThereAreProductsOfIt) {
  const Case c{1, 16, 9, 20, 6, 3, 3, 1, 1};
  const Given given(c), rounded(c, true);
  for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::avx512_bf16_emulated}) {
    if (!runs_here(isa)) continue;
    const Tensor strict = given.on(isa, 1), fast = given.on(isa, 1, Precision::fast), of_rounded = rounded.on(isa, 1, Precision::fast);
    const auto same = [](const Tensor& a, const Tensor& b) {
      return std::memcmp(a.data<float>(), b.data<float>(), std::size_t(a.count()) * 4) == 0;
    };
    const bool pairs = isa == Isa::avx512_bf16 || isa == Isa::avx512_bf16_emulated;
    EXPECT_EQ(same(strict, fast), !pairs) << name_of(isa);
    EXPECT_EQ(same(fast, of_rounded), pairs) << name_of(isa);
  }
}

TEST(Linear, FastProductsOfPairs) {
  for (const auto& [rows, in, out] : {std::array<std::int64_t, 3>{16, 7, 5}, {33, 64, 40}, {100, 1025, 17}, {70, 513, 200}}) {
    const Tensor x = random(4, {rows, in}).to(DType::bf16).to(DType::f32), w = random(5, {out, in}).to(DType::bf16).to(DType::f32),
                 b = random(6, {out});
    for (const Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::avx512_bf16_emulated, Isa::amx_emulated}) {
      if (!runs_here(isa)) continue;
      const auto on = [&](int threads) {
        return Ops(Context{.threads = threads, .isa = isa, .precision = Precision::fast}).linear(x, w, b);
      };
      const Tensor one = on(1), many = on(3);
      ASSERT_EQ(std::memcmp(one.data<float>(), many.data<float>(), std::size_t(one.count()) * 4), 0) << name_of(isa);
      for (std::int64_t i = 0; i < one.count(); ++i) {
        double want = b.data<float>()[i % out], size = 0;
        for (std::int64_t k = 0; k < in; ++k) {
          const double term = double(x.data<float>()[i / out * in + k]) * w.data<float>()[i % out * in + k];
          want += term, size += std::abs(term);
        }
        ASSERT_NEAR(one.data<float>()[i], want, 1e-5 * (1 + size)) << name_of(isa) << " " << in << " at " << i;
      }
    }
  }
}

TEST(Conv, NothingComesFromOutsideAWindow) {
  for (const Case& c : cases) {
    const Given given(c);
    const std::int64_t at = given.x.count() / 2, image = at / (c.inputs * c.high * c.wide);
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
      if (!runs_here(isa)) continue;
      const Tensor before = given.on(isa, 1);
      const float kept = given.x.data<float>()[at];
      given.x.data<float>()[at] = std::numeric_limits<float>::infinity();
      const Tensor after = given.on(isa, 1);
      given.x.data<float>()[at] = kept;
      const std::int64_t y = at / c.wide % c.high, x = at % c.wide, high = after.extent(2), wide = after.extent(3);
      for (std::int64_t i = 0; i < after.count(); ++i) {
        // From the windows' side (the smaller map) to the elements' side: where the two can meet.
        const std::int64_t h = i / wide % high, w = i % wide, down = c.transposed ? h - c.stride * y : y - c.stride * h,
                           right = c.transposed ? w - c.stride * x : x - c.stride * w;
        const bool meets = i / (c.outputs * high * wide) == image && down + c.padding >= 0 && right + c.padding >= 0 &&
                           down + c.padding <= (c.kernel - 1) * c.dilation && right + c.padding <= (c.across - 1) * c.dilation;
        if (!meets) ASSERT_EQ(before.data<float>()[i], after.data<float>()[i]) << c.text() << name_of(isa) << " at " << i;
      }
    }
  }
}

}  // namespace
