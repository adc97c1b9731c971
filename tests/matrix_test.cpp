// SPDX-License-Identifier: Apache-2.0
// Matrix on every instruction set against float64 products of the dequantised weights.
#include "engine/matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/float16.h"
#include "engine/repack.h"
#include "isa/isa.h"

namespace {
using namespace heed;
using engine::Activations, engine::Matrix;

constexpr GgmlType types[] = {GgmlType::F32,  GgmlType::F16,  GgmlType::BF16, GgmlType::Q4_0, GgmlType::Q4_1, GgmlType::Q5_0,
                              GgmlType::Q5_1, GgmlType::Q8_0, GgmlType::Q4_K, GgmlType::Q5_K, GgmlType::Q6_K};

std::vector<Isa> isas() {
  std::vector<Isa> here;
  for (const Isa isa : isa::all)
    if (runs_here(isa)) here.push_back(isa);
  return here;
}

/// Random blocks: any codes, moderate scales.
struct Weight {
  std::vector<std::byte> bytes;
  GgufTensor tensor;
  std::vector<float> values;  ///< dequantised

  Weight(GgmlType type, std::int64_t out, std::int64_t in, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const std::int64_t size = engine::block_bytes(type), count = out * in / engine::block_channels(type);
    bytes.resize(std::size_t(count * size));
    for (std::byte& b : bytes) b = std::byte(random() & 255);
    const auto put_half = [&](std::byte* to, float value) {
      const std::uint16_t bits = base::to_f16(value);
      std::memcpy(to, &bits, sizeof bits);
    };
    for (std::int64_t i = 0; i < count; ++i) {
      std::byte* to = bytes.data() + i * size;
      const float value = normal(random);
      if (type == GgmlType::F32)
        std::memcpy(to, &value, sizeof value);
      else if (type == GgmlType::F16)
        put_half(to, value);
      else if (type == GgmlType::BF16) {
        const std::uint16_t bits = base::to_bf16(value);
        std::memcpy(to, &bits, sizeof bits);
      } else if (type == GgmlType::Q6_K) {
        put_half(to + 208, 0.001f * value);
      } else {
        const bool min = type == GgmlType::Q4_1 || type == GgmlType::Q5_1 || type == GgmlType::Q4_K || type == GgmlType::Q5_K;
        put_half(to, 0.01f * value);
        if (min) put_half(to + 2, 0.05f * normal(random));
      }
    }
    tensor = {"weight", type, Shape{out, in}, bytes.data(), bytes.size()};
    const Tensor wide = dequantise(tensor);
    values.assign(wide.data<float>(), wide.data<float>() + out * in);
  }
};

std::vector<float> normals(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& v : x) v = normal(random);
  return x;
}

enum class Kind { f32, bf16, integers };

Kind kind_of(GgmlType type, Isa isa, Precision precision) {
  if (precision == Precision::strict || precision == Precision::split) return Kind::f32;
  if (product::is_quantised(engine::layout_of(type))) return Kind::integers;
  return type == GgmlType::BF16 && product::loops_of(isa).bf16 ? Kind::bf16 : Kind::f32;
}

/// What rounding can do to sum of x w: f32 sums of k terms, of which at most 256 + k / 256 follow each other; bf16: 2^-8 of each x (and
/// sums of k / 2 pairs); integers: half a step, 1/254 of the block's largest |x|, of each x and f32 sums of block terms, that reach 128 |q|
/// d where the code's offset is taken off apart, as minima are.
double bound(Kind kind, const float* x, const float* w, std::int64_t k) {
  const double eps = 0x1p-24;
  double sum = 0, steps = 0;
  for (std::int64_t p = 0; p < k; ++p) sum += std::fabs(double(x[p]) * w[p]);
  if (kind == Kind::f32) return sum * eps * (2.0 + double(std::min<std::int64_t>(k, 256) + k / 256)) + 1e-30;
  if (kind == Kind::bf16) return sum * (0x1p-8 + eps * (2.0 + double(std::min<std::int64_t>(k, 512) + k / 512))) + 1e-30;
  double spread = 0;
  for (std::int64_t b = 0; b < k; b += 32) {
    double most = 0, weights = 0, largest = 0;
    for (std::int64_t p = b; p < b + 32; ++p) {
      most = std::max(most, std::fabs(double(x[p])));
      weights += std::fabs(double(w[p]));
      largest = std::max(largest, std::fabs(double(w[p])));
    }
    steps += most / 254 * weights;
    spread += 32 * most * (largest * 4 + 1);  // minima and offsets apart are larger than what they leave
  }
  return steps * (1 + 1e-4) + spread * eps * double(k / 16 + 4) + 1e-30;
}

/// Every `step`-th output of each row.
void check(const Weight& w, const Matrix& m, Isa isa, Precision precision, std::int64_t n, std::int64_t step = 1) {
  const std::int64_t k = m.inputs(), out = m.outputs(), ldx = k + 3, ldy = out + 5;
  const auto x = normals(std::max<std::int64_t>(n * ldx, 1), 7);
  std::vector<float> y(std::size_t(n * ldy + 1), -77.0f);
  Context context;
  context.isa = isa, context.precision = precision, context.threads = 1;
  m.multiply(context, x.data(), n, ldx, y.data(), ldy);
  const Kind kind = kind_of(w.tensor.type, isa, precision);
  int wrong = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t o = i % step; o < out; o += step) {
      double want = 0;
      for (std::int64_t p = 0; p < k; ++p) want += double(x[std::size_t(i * ldx + p)]) * w.values[std::size_t(o * k + p)];
      const float got = y[std::size_t(i * ldy + o)];
      const double limit = bound(kind, x.data() + i * ldx, w.values.data() + o * k, k);
      if (!(std::fabs(got - want) <= limit) && ++wrong < 4)
        ADD_FAILURE() << name_of(isa) << " type " << int(w.tensor.type) << " precision " << int(precision) << " n " << n << " out " << out
                      << " in " << k << " at " << i << ", " << o << ": " << got << " for " << want << ", bound " << limit;
    }
    for (std::int64_t o = out; o < ldy; ++o) ASSERT_EQ(y[std::size_t(i * ldy + o)], -77.0f) << "written past the row";
  }
  ASSERT_EQ(y.back(), -77.0f);
}

TEST(Matrix, EveryTypeInstructionSetAndPrecision) {
  std::string names;
  for (const Isa isa : isas()) names += std::string(" ") + name_of(isa);
  std::printf("instruction sets that ran:%s\n", names.c_str());
  for (const GgmlType type : types) {
    const std::int64_t unit = engine::block_channels(type);
    for (const auto& [out, blocks] : {std::pair{1, 1}, {16, 2}, {37, 3}, {101, 1}}) {
      const std::int64_t in = unit == 1 ? 128 * blocks + 13 * (blocks % 2) : unit * blocks;
      const Weight w(type, out, in, unsigned(out));
      const Matrix m(w.tensor, nullptr);
      for (const Isa isa : isas())
        for (const Precision precision : {Precision::strict, Precision::fast})
          for (const std::int64_t n : {0, 1, 2, 5, 13})
            if (isa != Isa::amx_emulated || n == 2) check(w, m, isa, precision, n);  // it has no loops of its own
    }
  }
}

TEST(Matrix, LargerShapes) {
  for (const GgmlType type : types) {
    const Weight w(type, 200, 768, 3);
    const Matrix m(w.tensor, nullptr);
    for (const Isa isa : isas()) {
      if (isa >= Isa::avx512_bf16_emulated) continue;
      for (const Precision precision : {Precision::strict, Precision::fast, Precision::split, Precision::int8})
        for (const std::int64_t n : {63, 512}) check(w, m, isa, precision, n, 23);
    }
  }
}

TEST(Matrix, RowsAreTheDequantisedOnes) {
  for (const GgmlType type : types) {
    const Weight w(type, 37, 512, 5);
    const Matrix m(w.tensor, nullptr);
    std::vector<float> row(512);
    for (std::int64_t i = 0; i < 37; ++i) {
      m.row(i, row.data());
      EXPECT_EQ(std::memcmp(row.data(), w.values.data() + i * 512, 512 * sizeof(float)), 0) << int(type) << " row " << i;
    }
    EXPECT_THROW(m.row(37, row.data()), Error);
    EXPECT_THROW(m.row(-1, row.data()), Error);
  }
}

/// The same bits for any number of threads, for a row alone, and (but for bf16 products and the offset of 8-bit codes) on every instruction
/// set.
TEST(Matrix, SameBits) {
  const std::int64_t n = 70, k = 512, out = 150;
  const auto x = normals(n * k, 9);
  for (const GgmlType type : types) {
    const Weight w(type, out, k, 11);
    const Matrix m(w.tensor, nullptr);
    for (const Precision precision : {Precision::strict, Precision::fast}) {
      std::vector<float> first;
      for (const Isa isa : isas()) {
        if (isa == Isa::amx_emulated) continue;
        const bool emulated = isa >= Isa::avx512_bf16_emulated;
        const std::int64_t rows = emulated ? 7 : n;
        Context context;
        context.isa = isa, context.precision = precision, context.threads = 1;
        std::vector<float> one(std::size_t(n * out)), two(one.size()), alone(static_cast<std::size_t>(out));
        m.multiply(context, x.data(), rows, k, one.data(), out);
        context.threads = 2;
        m.multiply(context, x.data(), rows, k, two.data(), out);
        EXPECT_EQ(std::memcmp(one.data(), two.data(), std::size_t(rows * out) * sizeof(float)), 0) << int(type) << " " << name_of(isa);
        for (const std::int64_t i : {std::int64_t{0}, std::int64_t{3}, rows - 1}) {
          m.multiply(context, x.data() + i * k, 1, k, alone.data(), out);
          EXPECT_EQ(std::memcmp(one.data() + i * out, alone.data(), std::size_t(out) * sizeof(float)), 0)
              << int(type) << " " << name_of(isa);
        }
        if (kind_of(type, isa, precision) == Kind::bf16) continue;
        if (first.empty())
          first = one;
        else
          EXPECT_EQ(std::memcmp(first.data(), one.data(), std::size_t(rows * out) * sizeof(float)), 0) << int(type) << " " << name_of(isa);
      }
    }
  }
}

TEST(Matrix, SharedActivations) {
  const auto x = normals(9 * 256, 13);
  for (const Isa isa : isas()) {
    Context context;
    context.isa = isa, context.precision = Precision::fast;
    Activations shared(x.data(), 9, 256, 256);
    for (const GgmlType type : types) {
      const Weight w(type, 40, 256, 17);
      const Matrix m(w.tensor, nullptr);
      std::vector<float> a(9 * 40), b(a.size());
      m.multiply(context, shared, a.data(), 40);
      m.multiply(context, x.data(), 9, 256, b.data(), 40);
      EXPECT_EQ(a, b) << int(type) << " " << name_of(isa);
    }
    const auto other = normals(5 * 256, 14);
    shared.set(other.data(), 5, 256, 256);
    const Weight w(GgmlType::Q4_1, 40, 256, 17);
    const Matrix m(w.tensor, nullptr);
    std::vector<float> a(5 * 40), b(a.size());
    m.multiply(context, shared, a.data(), 40);
    m.multiply(context, other.data(), 5, 256, b.data(), 40);
    EXPECT_EQ(a, b);
  }
}

TEST(Matrix, ZerosAndWhatIsNotFinite) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const GgmlType type : types) {
    const Weight w(type, 20, 256, 19);
    const Matrix m(w.tensor, nullptr);
    for (const Isa isa : isas())
      for (const Precision precision : {Precision::strict, Precision::fast}) {
        auto x = normals(5 * 256, 23);
        std::fill(x.begin(), x.begin() + 256, 0.0f);
        std::fill(x.begin() + 256, x.begin() + 512, 1e-40f);
        x[2 * 256 + 100] = nan;
        x[3 * 256 + 7] = inf;
        Context context;
        context.isa = isa, context.precision = precision;
        std::vector<float> y(5 * 20);
        m.multiply(context, x.data(), 5, 256, y.data(), 20);
        for (int o = 0; o < 20; ++o) {
          EXPECT_EQ(y[std::size_t(o)], 0.0f);
          EXPECT_LT(std::fabs(y[std::size_t(20 + o)]), 1e-36f);
          EXPECT_TRUE(std::isnan(y[std::size_t(40 + o)])) << int(type) << " " << name_of(isa);
          EXPECT_FALSE(std::isfinite(y[std::size_t(60 + o)])) << int(type) << " " << name_of(isa);
          EXPECT_TRUE(std::isfinite(y[std::size_t(80 + o)]));
        }
      }
  }
}

TEST(Matrix, StridedTensorsAndErrors) {
  const Tensor flat = Tensor::of(normals(30 * 40, 29), Shape{30, 40});
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    const Tensor w = flat.to(dtype).transpose(0, 1);
    const Matrix m(w);
    EXPECT_EQ(m.outputs(), 40);
    EXPECT_EQ(m.inputs(), 30);
    const Tensor wide = w.dense().to(DType::f32);
    std::vector<float> row(30);
    m.row(21, row.data());
    EXPECT_EQ(std::memcmp(row.data(), wide.data<float>() + 21 * 30, 30 * sizeof(float)), 0);
  }
  EXPECT_FALSE(Matrix().defined());
  EXPECT_THROW(Matrix(Tensor(DType::i64, Shape{2, 2})), Error);
  EXPECT_THROW(Matrix(Tensor(DType::f32, Shape{2})), Error);
  Weight w(GgmlType::Q8_0, 2, 32, 1);
  w.tensor.bytes -= 1;
  EXPECT_THROW(Matrix(w.tensor, nullptr), Error);
  const Matrix m(flat);
  Activations x(flat.data<float>(), 1, 39, 40);
  float y[40];
  EXPECT_THROW(m.multiply({}, x, y, 30), Error);
  const Matrix none(Tensor(DType::f32, Shape{3, 0}));
  none.multiply({}, nullptr, 2, 0, y, 3);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(y[i], 0.0f);
}

}  // namespace
