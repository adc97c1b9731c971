// SPDX-License-Identifier: Apache-2.0
// What the symbols of a declaration stand for where no tensor settles them.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mechanism/extent.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {

/// A symbol is, in this order: a parameter's value, what was given under its name, what the declaration says (Declaration::size), and
/// what names like it usually mean, given or not: B batches (1), N tokens, nodes and the like (1024), heads (what a parameter says, else
/// 8), D their width (64), C channels (heads*D; of maps 256), and of maps, which have a W, height H and width W (56, or such that H*W is
/// the N given). Where there is no W, H means heads.
class Sizes {
 public:
  using Given = std::map<std::string, std::int64_t>;
  /// Sizes by names that mean one thing here: H by `heads` where there are no maps, unless a W says that H*W are tokens.
  static Given plain(const Declaration& d, Given given);
  /// Throws Error for a name that means nothing here, and for one that contradicts a parameter. `given` is plain().
  Sizes(const Declaration& d, const Given& given);

  /// Throws Error for a symbol that nothing settles.
  double of(const std::string& symbol);
  double value(const std::string& expression);
  std::vector<std::int64_t> shape(const std::string& text);
  /// Every symbol that was settled, with those of parameters.
  const Symbols& symbols() const { return symbols_; }
  /// B, N, heads, D, C, H or W where a name usually means that, else empty.
  std::string kind_of(const std::string& symbol) const;

 private:
  double usual(const std::string& kind);

  const Declaration& d_;
  Given given_;
  Symbols symbols_;
  std::set<std::string> pending_;
  bool map_ = false;
};

}  // namespace heed::mechanism
