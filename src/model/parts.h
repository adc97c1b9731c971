// SPDX-License-Identifier: Apache-2.0
// What a Model holds.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "heed/model.h"
#include "model/config.h"
#include "model/weights.h"

namespace heed {
inline namespace v0 {

struct Model::Parts {
  std::string path;
  std::vector<std::string> files;  ///< what hash() reads
  model::Config config;
  model::Weights weights;
  std::optional<Tokenizer> tokenizer;
};

}  // namespace v0
}  // namespace heed
