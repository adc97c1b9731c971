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
  std::string paper;   ///< empty: no paper of its own
  bool mixes = false;  ///< can stand in for the attention of a trained model (heed/model.h, Way)
};

/// Sorted by slug.
std::vector<MechanismInfo> list_mechanisms();

/// The declaration of one mechanism under these parameters as JSON text: inputs, weights, parameters with defaults, outputs.
/// Entries may depend on parameters ("layers.{l}.weight", a variant's tensors). Throws Error for an unknown slug, and as
/// check_params does.
std::string describe_mechanism(const std::string& slug, const std::string& params = "{}");

/// Whether a mechanism takes these parameters: throws Error naming the one it does not.
void check_params(const std::string& slug, const std::string& params);

/// Runs a mechanism. `params` is a JSON object; `outputs` names what is computed besides `out` (empty: `out` alone).
/// Throws Error naming the argument for an unknown slug, name or output, a missing tensor, a wrong dtype or shape, or a
/// parameter out of range.
Tensors run(const std::string& slug, const Tensors& inputs, const Tensors& weights = {}, const std::string& params = "{}",
            const std::vector<std::string>& outputs = {}, const Context& context = {});

/// A run that remembers how gradients go back through it.
class Recording {
 public:
  Tensors outputs;
  /// Gradients of the sum over outputs of sum(output * cotangent), by the names given to record(). Can be called again.
  /// Throws Error for a cotangent that is no float output's or has another shape.
  Tensors gradients(const Tensors& cotangents) const;

 private:
  friend Recording record(const std::string&, const Tensors&, const Tensors&, const std::vector<std::string>&, const std::string&,
                          const std::vector<std::string>&, const Context&);
  Tensors graph_, wanted_;
  Context context_;
};

/// As run(); `of` names what gradients are wanted of: "in.NAME", "weight.NAME". Throws Error for one that declares none.
Recording record(const std::string& slug, const Tensors& inputs, const Tensors& weights, const std::vector<std::string>& of,
                 const std::string& params = "{}", const std::vector<std::string>& outputs = {}, const Context& context = {});

/// Seeded initial weights: what run() uses where a mechanism has weights and none at all are given. Shapes come from the
/// parameters and the inputs (which may lack where the parameters say enough); throws Error naming a weight whose shape is not
/// settled by them.
Tensors initial_weights(const std::string& slug, const Tensors& inputs = {}, const std::string& params = "{}", const Context& context = {});

/// Random tensors that a mechanism takes.
struct Example {
  Tensors inputs, weights;
  std::string params;                         ///< all of them, as a JSON object
  std::map<std::string, std::int64_t> sizes;  ///< of the symbols in the shapes of the declaration that no parameter says
};

/// An example of what a mechanism takes under these parameters: its required inputs and those in `with`, of sizes that the
/// declaration says or that are usual, and its seeded weights; floats are of `dtype`. `sizes` names symbols of the declaration, or what
/// such symbols mean: B batches (1), N tokens, nodes, keys (1024), H or heads (8), D the width of a head (64), C channels (heads*D; of
/// maps 256), and of maps H and W (56; given N alone, a square of about N places). Sizes of heads and widths set the parameters that
/// hold them where `params` do not. Throws Error naming a size or parameter that does not fit.
Example example(const std::string& slug, const std::map<std::string, std::int64_t>& sizes = {}, const std::string& params = "{}",
                const std::vector<std::string>& with = {}, DType dtype = DType::f32, std::uint64_t seed = 0);

struct OutputError {
  std::string output;
  double max_absolute = 0, max_relative = 0;
  bool passed = false;
};

/// Runs a case file (docs/case-files.md) and compares each output and each gradient ("grad.in.q"): |got - want| <= atol + rtol |want|; NaN
/// fails; integer and bool outputs must be equal. Throws Error where the file or a name in it is wrong.
std::vector<OutputError> verify(const std::string& path, const Context& context = {});

}  // namespace v0
}  // namespace heed
