// SPDX-License-Identifier: Apache-2.0
// The catalogue: every mechanism by its slug.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

using Tensors = std::map<std::string, Tensor>;

struct MechanismInfo {
  std::string slug, family, kind;
  int tier = 0;
  std::string paper;  ///< empty: no paper of its own
};

/// Sorted by slug.
std::vector<MechanismInfo> list_mechanisms();

/// The declaration of one mechanism as JSON text: inputs, weights, parameters with defaults, outputs.
/// Throws Error for an unknown slug.
std::string describe_mechanism(const std::string& slug);

/// Runs a mechanism. `params` is a JSON object; `outputs` names what is computed besides `out` (empty: `out` alone).
/// Throws Error naming the argument for an unknown slug, name or output, a missing tensor, a wrong dtype or shape, or a
/// parameter out of range.
Tensors run(const std::string& slug, const Tensors& inputs, const Tensors& weights = {}, const std::string& params = "{}",
            const std::vector<std::string>& outputs = {}, const Context& context = {});

struct OutputError {
  std::string output;
  double max_absolute = 0, max_relative = 0;
  bool passed = false;
};

/// Runs a case file (docs/case-files.md) and compares each output: |got - want| <= atol + rtol |want|; NaN fails; integer and
/// bool outputs must be equal. Throws Error where the file or a name in it is wrong.
std::vector<OutputError> verify(const std::string& path, const Context& context = {});

}  // namespace v0
}  // namespace heed
