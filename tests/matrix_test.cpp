// SPDX-License-Identifier: Apache-2.0
// Matrix against float64 products of the dequantised weights.
#include "engine/matrix.h"

#include <gtest/gtest.h>

#include <cmath>

namespace {
using namespace heed;

TEST(Matrix, F32) {
  Tensor w = Tensor::of({1, 2, 3, 4, 5, 6}, Shape{2, 3});
  const engine::Matrix m(w);
  const float x[] = {1, 0, -1, 2, 1, 0};
  float y[4];
  m.multiply({}, x, 2, 3, y, 2);
  EXPECT_FLOAT_EQ(y[0], -2);
  EXPECT_FLOAT_EQ(y[1], -2);
  EXPECT_FLOAT_EQ(y[2], 4);
  EXPECT_FLOAT_EQ(y[3], 13);
}
}  // namespace
