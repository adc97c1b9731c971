// SPDX-License-Identifier: Apache-2.0
// What recording costs, one thread, its CPU time, the best of many runs in turns: a forward pass by words that cannot record, by words
// that can but of which no gradient is wanted, and with one wanted.
//   bench_tape
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>

#include "clock.h"
#include "heed/ops.h"
#include "heed/tape.h"

namespace {
using namespace heed;

struct Pass {
  const char* name;
  Shape shape;
  std::function<Tensor(const Ops&, const Tensor&)> run;
};

}  // namespace

int main() {
  Context context;
  context.threads = 1;
  const Ops deaf(context, false), ops(context);
  const Tensor weight = Tensor::zeros(DType::f32, {64, 64});
  const Pass passes[] = {
      {"add, 64 numbers", {64}, [](const Ops& o, const Tensor& x) { return o.add(x, x); }},
      {"linear, 16 x 64 by 64", {16, 64}, [&](const Ops& o, const Tensor& x) { return o.linear(x, weight); }},
      {"20 additions of 64 numbers",
       {64},
       [](const Ops& o, Tensor x) {
         for (int i = 0; i < 20; ++i) x = o.add(x, x);
         return x;
       }},
      {"attention, 128 tokens, 4 heads of 32", {1, 128, 4, 32}, [](const Ops& o, const Tensor& x) { return o.attend(x, x, x).out; }},
  };
  fmt::print("{:38}{:>14}{:>12}{:>12}   us; {}\n", "forward pass", "cannot record", "not wanted", "wanted", "not wanted / cannot");
  for (const Pass& pass : passes) {
    const Tensor x = Tensor::zeros(DType::f32, pass.shape), start = leaf(x);
    const std::array<std::function<void()>, 3> calls{[&] { pass.run(deaf, x); }, [&] { pass.run(ops, x); }, [&] { pass.run(ops, start); }};
    std::array<double, 3> least;
    least.fill(1e9);
    for (int round = 0; round < 200; ++round)
      for (std::size_t which = 0; which < calls.size(); ++which) {
        constexpr int times = 50;
        const double begin = now();
        for (int i = 0; i < times; ++i) calls[which]();
        least[which] = std::min(least[which], (now() - begin) / times);
      }
    fmt::print("{:38}{:14.3f}{:12.3f}{:12.3f}   {:.2f}\n", pass.name, least[0] * 1e6, least[1] * 1e6, least[2] * 1e6, least[1] / least[0]);
  }
}
