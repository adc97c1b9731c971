// SPDX-License-Identifier: Apache-2.0
// What heed compare measures of one model, one text and several ways of attending.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "heed/model.h"

namespace heed::app {

using Json = nlohmann::ordered_json;

struct Comparison {
  std::vector<Way> ways;   ///< beside exact
  std::int64_t split = 0;  ///< 0: every position is scored; else those after the first `split`, one token at a time
  Context context;         ///< precision fast or strict
};

/// One row a way, exact first; exact@P second where the text is split. Numbers have the units of their names; `curve` is the mean loss
/// (nats a token) of stretches of tokens that end before `curve_ends`; `parameters` has the defaults too, `given` only what the
/// way was called with, `variant` the words among that. `step(label, share)` is told what comes next and the share that is done.
/// Throws Error for fewer than 100 scored tokens, a split outside the text, and a way that cannot stand in.
std::vector<Json> measure(const Model& model, const std::vector<int>& ids, const Comparison& comparison,
                          const std::function<void(const std::string&, double)>& step);

/// Ten ways with their papers' parameters, scaled down where those would see every pair of n tokens.
std::vector<Way> usual_ways(std::int64_t n);

}  // namespace heed::app
