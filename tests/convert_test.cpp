// SPDX-License-Identifier: Apache-2.0
// Many values at once convert as one by one does, to the bit.
#include "base/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <vector>

#include "base/float16.h"
#include "base/random.h"

using namespace heed;

namespace {

std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }

TEST(Convert, EveryHalf) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = std::uint16_t(i);
  std::vector<float> wide(halves.size());
  ASSERT_TRUE(base::convert(halves.data(), DType::bf16, wide.data(), DType::f32, 65536));
  for (std::size_t i = 0; i < halves.size(); ++i) ASSERT_EQ(bits_of(wide[i]), bits_of(base::from_bf16(halves[i]))) << i;
  ASSERT_TRUE(base::convert(halves.data(), DType::f16, wide.data(), DType::f32, 65536));
  for (std::size_t i = 0; i < halves.size(); ++i) ASSERT_EQ(bits_of(wide[i]), bits_of(base::from_f16(halves[i]))) << i;
}

TEST(Convert, RoundsAsOneByOne) {
  const base::Random random(1, 2);
  std::vector<float> values;
  for (std::uint32_t i = 0; i < 100003; ++i) values.push_back(std::bit_cast<float>(random.bits(i)));  // NaN, infinity and subnormals too
  for (const std::uint32_t bits : {0u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00001u, 0x7f7fffffu, 0x477fefffu, 0x477ff000u,
                                   0x33000000u, 0x33000001u, 0x387fffffu, 0x38800000u, 0x3f808000u, 0x3f818000u})
    values.push_back(std::bit_cast<float>(bits));
  std::vector<std::uint16_t> got(values.size());
  const auto n = std::int64_t(values.size());
  ASSERT_TRUE(base::convert(values.data(), DType::f32, got.data(), DType::bf16, n));
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(got[i], base::to_bf16(values[i])) << bits_of(values[i]);
  ASSERT_TRUE(base::convert(values.data(), DType::f32, got.data(), DType::f16, n));
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(got[i], base::to_f16(values[i])) << bits_of(values[i]);
}

TEST(Convert, OtherTypesAreLeftAlone) {
  std::int64_t from = 3;
  float to = 7;
  EXPECT_FALSE(base::convert(&from, DType::i64, &to, DType::f32, 1));
  EXPECT_EQ(to, 7);
  const Tensor t = Tensor::of({1.5f, -2.25f}, {2});
  EXPECT_EQ(t.to(DType::bf16).to(DType::f32).data<float>()[1], -2.25f);
  EXPECT_EQ(t.to(DType::i64).data<std::int64_t>()[0], 1);
}

}  // namespace
