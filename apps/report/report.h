// SPDX-License-Identifier: Apache-2.0
// heed compare's page: one HTML file that needs no network and no scripts.
#pragma once
#include <string>
#include <vector>

#include "columns.h"
#include "heed/model.h"

namespace heed::app {

/// What one head of exact attention looks at, in cells of a square.
struct HeadMap {
  std::int64_t layer = 0, head = 0;
  std::string role;          ///< why it was chosen
  int cells = 0;             ///< a side
  std::vector<float> share;  ///< (cells, cells): of the weight of a query, what falls on the keys of a cell; 0 above the diagonal
};

/// Heads of exact attention that differ most in what they look at.
std::vector<HeadMap> head_maps(const Model& model, const std::vector<int>& ids, const Context& context);

struct Subject {
  std::string model, text;
  const ModelConfig* config;
};

/// Writes beside `path` and renames. Throws Error where that fails.
void write_report(const std::string& path, const Subject& subject, const std::vector<Json>& rows, const std::vector<HeadMap>& maps);

}  // namespace heed::app
