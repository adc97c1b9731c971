// SPDX-License-Identifier: Apache-2.0
// Rotary positions (Su et al., 2021): the pair t of q and k turns by angle position * f_t, f_t = base^(-2t/R). Longer contexts:
// linear (f / factor), NTK (base * factor^(R/(R-2))) and YaRN (Peng et al., 2023: by parts, with beta 32 and 1).
#include <algorithm>
#include <numbers>

#include "mechanism/attention.h"

namespace heed::mechanism {
namespace {

struct Rope : CausalAttention {
  double base = 10000, factor = 1;
  std::optional<std::int64_t> rotary_dim;
  std::int64_t original_length = 2048;
  std::string layout = "half", scaling = "none";

  void describe(Declaration& d) override {
    Attention::describe(d);
    d.param("base", base, "base of the frequencies").least(1);
    d.param("rotary_dim", rotary_dim, "how many of the first components turn; even").computed("D").least(2);
    d.param("layout", layout, "pairs (t, t + R/2) or (2t, 2t + 1)").one_of({"half", "interleaved"});
    d.param("scaling", scaling, "for contexts beyond the trained one").one_of({"none", "linear", "ntk", "yarn"});
    d.param("factor", factor, "how many times longer").least(1);
    d.param("original_length", original_length, "trained length (yarn)").least(1);
  }

  void run(Ops& ops) override {
    const auto D = q.extent(3), R = rotary_dim.value_or(D);
    if (R % 2 || R > D) fail("parameter rotary_dim", "an even number up to D = " + std::to_string(D), std::to_string(R));
    if (scaling == "ntk" && R < 4) fail("parameter rotary_dim", "more than 2 with ntk", std::to_string(R));
    std::vector<double> frequencies;
    const double from = scaling == "ntk" ? base * std::pow(factor, double(R) / double(R - 2)) : base;
    for (std::int64_t t = 0; t < R / 2; ++t) {
      double f = std::pow(from, -2.0 * double(t) / double(R));
      if (scaling == "linear") f /= factor;
      if (scaling == "yarn") {
        const double turns = double(original_length) * f / (2 * std::numbers::pi), keep = std::clamp((turns - 1) / 31, 0.0, 1.0);
        f = f * keep + f / factor * (1 - keep);
      }
      frequencies.push_back(f);
    }
    const double gain = scaling == "yarn" ? 0.1 * std::log(factor) + 1 : 1;
    const auto turn = [&](const Tensor& x, std::int64_t b, auto position) {
      const auto N = x.extent(1);
      Tensor cos(DType::f32, {N, R / 2}), sin(DType::f32, {N, R / 2});
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t t = 0; t < R / 2; ++t) {
          const double angle = double(position(i)) * frequencies[std::size_t(t)];
          cos.data<float>()[i * R / 2 + t] = float(gain * std::cos(angle));
          sin.data<float>()[i * R / 2 + t] = float(gain * std::sin(angle));
        }
      const Tensor part = sequences() == 1 ? x : x.slice(0, b, 1);
      return ops.rope(part, cos, sin, layout == "interleaved");
    };
    std::vector<Tensor> queries;
    for (std::int64_t b = 0; b < sequences(); ++b) queries.push_back(turn(q, b, [&](auto i) { return position(b, i); }));
    std::vector<Tensor> keys;
    for (std::int64_t b = 0; b < sequences(); ++b) keys.push_back(turn(k, b, [](auto j) { return j; }));
    if (queries.empty()) {
      queries.push_back(q);
      keys.push_back(k);
    }
    attend(ops, ops.concat(queries, 0), ops.concat(keys, 0), v, attend_options());
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(rope, Rope, "rope", "position", "op", 1, "")
