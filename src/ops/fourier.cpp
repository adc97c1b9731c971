// SPDX-License-Identifier: Apache-2.0
#include "ops/fourier.h"

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

namespace heed::ops {
namespace {

constexpr double pi = 3.14159265358979323846;
constexpr std::int64_t number = 2 * kernel::fourier_lanes;

void add(std::vector<float>& pairs, double angle, double size = 1) {
  pairs.push_back(float(size * std::cos(angle)));
  pairs.push_back(float(size * std::sin(angle)));
}

/// The transform of a few numbers by its definition's halves, in f64: what a filter is made of.
void transform(std::vector<double>& re, std::vector<double>& im) {
  const std::size_t n = re.size();
  for (std::size_t i = 1, j = 0; i < n; ++i) {
    std::size_t bit = n / 2;
    for (; j & bit; bit /= 2) j ^= bit;
    j ^= bit;
    if (i < j) std::swap(re[i], re[j]), std::swap(im[i], im[j]);
  }
  for (std::size_t half = 1; half < n; half *= 2)
    for (std::size_t k = 0; k < half; ++k) {
      const double c = std::cos(pi * double(k) / double(half)), s = -std::sin(pi * double(k) / double(half));
      for (std::size_t a = k; a < n; a += 2 * half) {
        const std::size_t b = a + half;
        const double r = re[b] * c - im[b] * s, i = re[b] * s + im[b] * c;
        re[b] = re[a] - r, im[b] = im[a] - i, re[a] += r, im[a] += i;
      }
    }
}

}  // namespace

Transform::Transform(std::int64_t n, bool inverse) : n_(n), room_(n) {
  const double sign = inverse ? 1 : -1;
  for (std::int64_t k = 0; k <= n; ++k) add(halves_, sign * pi * double(k) / double(n));
  std::vector<std::int64_t> radices;
  std::int64_t rest = n;
  const auto take = [&](std::int64_t p) {
    for (; rest % p == 0; rest /= p) radices.push_back(p);
  };
  take(4), take(2);
  for (std::int64_t p = 3; p <= kernel::most_radix; p += 2) take(p);
  if (rest == 1) {
    std::int64_t left = n;
    for (const std::int64_t p : radices) {
      Pass pass{p, left / p, {}, {}};
      for (std::int64_t q = 0; q < pass.m; ++q)
        for (std::int64_t j = 1; j < p; ++j) add(pass.turns, sign * 2 * pi * double(q * j % left) / double(left));
      for (std::int64_t i = 0; i < p; ++i) add(pass.roots, sign * 2 * pi * double(i) / double(p));
      left = pass.m;
      passes_.push_back(std::move(pass));
    }
    return;
  }
  // k t = (k^2 + t^2 - (k - t)^2) / 2 makes it a convolution with the chirp exp(+-i pi t^2 / n).
  room_ = 1;
  while (room_ < 2 * n - 1) room_ *= 2;
  power_ = of(room_, false);
  std::vector<double> re(std::size_t(room_), 0.0), im(re);
  for (std::int64_t t = 0; t < n; ++t) {
    const double angle = sign * pi * double(t * t % (2 * n)) / double(n);
    add(chirp_, angle), add(last_, angle, 1 / double(room_));
    const auto here = std::size_t(t), there = std::size_t(t == 0 ? 0 : room_ - t);
    re[here] = re[there] = std::cos(angle), im[here] = im[there] = -std::sin(angle);
  }
  transform(re, im);
  for (std::size_t i = 0; i < re.size(); ++i) filter_.push_back(float(re[i])), filter_.push_back(float(im[i]));
}

std::shared_ptr<const Transform> Transform::of(std::int64_t n, bool inverse) {
  constexpr std::int64_t most = 1 << 20;  // numbers kept in all
  static std::recursive_mutex lock;
  static auto* const plans = new std::map<std::pair<std::int64_t, bool>, std::shared_ptr<const Transform>>;
  static std::int64_t kept = 0;
  const std::lock_guard guard(lock);
  if (const auto found = plans->find({n, inverse}); found != plans->end()) return found->second;
  auto made = std::make_shared<const Transform>(n, inverse);
  if (kept + made->room_ > most) plans->clear(), kept = 0;
  if (made->room_ <= most) kept += made->room_, plans->emplace(std::pair(n, inverse), made);
  return made;
}

float* Transform::run(const kernel::FourierTable& loops, float* x, float* spare) const {
  if (power_) {
    loops.turn(x, n_, chirp_.data(), false);
    std::memset(x + n_ * number, 0, std::size_t((room_ - n_) * number) * sizeof(float));
    float* y = power_->run(loops, x, spare);
    loops.turn(y, room_, filter_.data(), true);
    y = power_->run(loops, y, y == x ? spare : x);
    // The inverse by conjugates: those of what comes out, turned by the chirp.
    const std::int64_t floats = n_ * number;
    for (std::int64_t at = kernel::fourier_lanes; at < floats; at += number)
      for (int l = 0; l < kernel::fourier_lanes; ++l) y[at + l] = -y[at + l];
    loops.turn(y, n_, last_.data(), false);
    return y;
  }
  std::int64_t s = 1;
  for (const Pass& pass : passes_) {
    loops.pass(pass.radix, pass.m, s, pass.turns.data(), pass.roots.data(), x, spare);
    std::swap(x, spare);
    s *= pass.radix;
  }
  return x;
}

}  // namespace heed::ops
