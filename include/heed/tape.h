// SPDX-License-Identifier: Apache-2.0
// Derivatives. A tensor that a gradient is wanted of carries its origin: the op that made it, the origins of that op's
// inputs, and how gradients of the op's outputs become gradients of its inputs. Playing the graph backwards calls those in
// the reverse order of the forward pass; it can be played more than once, and, as derivatives are written in ops, recorded
// in its turn.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

class Ops;
class Pull;

/// Gradients of an op's inputs from those of its outputs; an undefined tensor where none is wanted or none exists.
using Derivative = std::function<std::vector<Tensor>(const Pull&)>;

/// An input of an op: null where no gradient of it is wanted.
struct Source {
  std::shared_ptr<const Origin> origin;
  int place = 0;
};

/// A view has no derivative of its own: its step back is one of these.
struct ViewStep {
  enum class Kind { permute, slice, broadcast, reshape } kind;
  std::vector<int> axes;  ///< of permute
  int axis;               ///< of slice
  std::int64_t begin;     ///< of slice
  Shape from;
};

struct Origin {
  /// A leaf: what gradients are asked of.
  Origin();
  Origin(std::string op, std::vector<Source> inputs, Derivative derivative);
  Origin(std::string op, std::vector<Source> inputs, ViewStep step);
  /// Long chains are taken apart one after the other.
  ~Origin();

  std::string op;
  mutable std::vector<Source> inputs;
  Derivative derivative;
  std::shared_ptr<const ViewStep> step;
  std::vector<Tensor> kept;  ///< outputs that the derivative needs, without their origin
  std::uint64_t order;       ///< of the forward pass
};

/// What a derivative is given.
class Pull {
 public:
  Pull(const Ops& ops, const std::shared_ptr<const Origin>& origin, const std::vector<Tensor>& gradients)
      : ops(ops), origin_(origin), gradients_(gradients) {}
  /// The words to compute with; they record where the gradient's own gradient is wanted.
  const Ops& ops;
  /// Gradient of an output; undefined where none arrived.
  const Tensor& gradient(int output = 0) const { return gradients_[std::size_t(output)]; }
  /// An output that the op kept.
  Tensor output(int place = 0) const { return origin_->kept[std::size_t(place)].with_origin(records_ ? origin_ : nullptr, place); }
  bool wants(int input) const { return std::size_t(input) < origin_->inputs.size() && origin_->inputs[std::size_t(input)].origin; }
  Pull& recording(bool on) {
    records_ = on;
    return *this;
  }

 private:
  const std::shared_ptr<const Origin>& origin_;
  const std::vector<Tensor>& gradients_;
  bool records_ = false;
};

/// The same elements as the start of a graph: gradients can be asked of it.
Tensor leaf(const Tensor& x);

/// Gradients of sum_i sum(outputs[i] * cotangents[i]) with respect to tensors of the graph (leaves, or results on the way).
/// Zeros where no path leads. Outputs without an origin count as constants. Throws Error for a cotangent of another shape and
/// for a tensor without an origin.
std::vector<Tensor> gradients(const Ops& ops, const std::vector<Tensor>& outputs, const std::vector<Tensor>& cotangents,
                              const std::vector<Tensor>& of);

}  // namespace v0
}  // namespace heed
