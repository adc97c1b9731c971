// SPDX-License-Identifier: Apache-2.0
// Draws: every element is a function of (seed, stream, its place), see base/random.h.
#include <algorithm>
#include <numeric>

#include "base/random.h"
#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

template <class F>
Tensor draw(int threads, const Shape& shape, std::int64_t seed, std::int64_t stream, F&& value) {
  const base::Random random{std::uint64_t(seed), std::uint64_t(stream)};
  Tensor out(DType::f32, shape);
  pieces(threads, out.count(), 4096, [&, to = out.raw<float>()](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = float(value(random, std::uint64_t(i)));
  });
  return out;
}

}  // namespace

Tensor Ops::uniform(const Shape& shape, std::int64_t seed, std::int64_t stream) const {
  return draw(context_.threads, shape, seed, stream, [](const base::Random& r, std::uint64_t i) { return r.uniform(i); });
}

Tensor Ops::normal(const Shape& shape, std::int64_t seed, std::int64_t stream) const {
  return draw(context_.threads, shape, seed, stream, [](const base::Random& r, std::uint64_t i) { return r.normal(i); });
}

Tensor Ops::gumbel(const Shape& shape, std::int64_t seed, std::int64_t stream) const {
  return draw(context_.threads, shape, seed, stream,
              [](const base::Random& r, std::uint64_t i) { return -std::log(-std::log((double(r.bits(i)) + 0.5) * 0x1p-32)); });
}

Tensor Ops::permutation(std::int64_t n, std::int64_t seed, std::int64_t stream) const {
  if (n < 0) fail("n", "0 or more", std::to_string(n));
  const base::Random random{std::uint64_t(seed), std::uint64_t(stream)};
  Tensor out(DType::i64, Shape{n});
  auto* to = out.raw<std::int64_t>();
  std::iota(to, to + n, std::int64_t(0));
  for (std::int64_t i = n - 1; i > 0; --i) {  // Fisher and Yates; 64 bits make the bias of the remainder invisible
    const auto at = std::uint64_t(i), bits = std::uint64_t(random.bits(2 * at)) << 32 | random.bits(2 * at + 1);
    std::swap(to[i], to[bits % (at + 1)]);
  }
  return out;
}

}  // namespace v0
}  // namespace heed
