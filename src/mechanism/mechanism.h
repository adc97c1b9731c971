// SPDX-License-Identifier: Apache-2.0
// What a mechanism's file includes: the declaration it fills in and the words it computes with.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "heed/tensor.h"

namespace heed {
inline namespace v0 {
class Ops;
}
}  // namespace heed

namespace heed::mechanism {

/// Where a parameter lives in its mechanism; the member's initialiser is the default.
using Slot = std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<double>*, std::optional<std::int64_t>*,
                          std::vector<std::int64_t>*, std::vector<double>*>;

/// A tensor a mechanism takes or gives. Shapes are symbols, integers or expressions of symbols and parameters, separated by
/// spaces ("B N 2*dim"); `*name` stands for any number of axes.
struct TensorEntry {
  enum class Role { input, weight, output } role;
  std::string name, shape, doc, condition;
  Tensor* tensor;
  DType dtype = DType::f32;
  bool required = true, gradient = true, present = true;

  TensorEntry& optional() { required = false; return *this; }
  TensorEntry& no_gradient() { gradient = false; return *this; }
  TensorEntry& of(DType type) { dtype = type; gradient = gradient && type == DType::f32; return *this; }
  /// Present only where `holds`; `text` says so in the docs ("kind=col").
  TensorEntry& when(bool holds, std::string text) { present = holds; condition = std::move(text); return *this; }
};

struct ParamEntry {
  std::string name, doc, computed_as;
  Slot slot;
  std::optional<double> least_value, most_value;
  std::vector<std::string> choices;

  ParamEntry& least(double value) { least_value = value; return *this; }
  ParamEntry& most(double value) { most_value = value; return *this; }
  ParamEntry& one_of(std::vector<std::string> values) { choices = std::move(values); return *this; }
  /// What an absent value stands for, as text ("1/sqrt(D)").
  ParamEntry& computed(std::string text) { computed_as = std::move(text); return *this; }
};

/// Filled by a mechanism's describe(), which is called once for the parameters and again when they are set, so that
/// entries may depend on them.
class Declaration {
 public:
  TensorEntry& input(std::string name, Tensor& tensor, std::string shape, std::string doc) {
    return add(TensorEntry::Role::input, std::move(name), tensor, std::move(shape), std::move(doc));
  }
  TensorEntry& weight(std::string name, Tensor& tensor, std::string shape, std::string doc = "") {
    return add(TensorEntry::Role::weight, std::move(name), tensor, std::move(shape), std::move(doc));
  }
  /// `out` first; the others are computed only where Mechanism::wants() says so.
  TensorEntry& output(std::string name, Tensor& tensor, std::string shape, std::string doc = "") {
    return add(TensorEntry::Role::output, std::move(name), tensor, std::move(shape), std::move(doc));
  }
  template <class T>
  ParamEntry& param(std::string name, T& value, std::string doc) {
    params.push_back(std::make_unique<ParamEntry>(ParamEntry{std::move(name), std::move(doc), "", &value, {}, {}, {}}));
    return *params.back();
  }

  std::vector<std::unique_ptr<TensorEntry>> tensors;
  std::vector<std::unique_ptr<ParamEntry>> params;

 private:
  TensorEntry& add(TensorEntry::Role role, std::string name, Tensor& tensor, std::string shape, std::string doc) {
    tensors.push_back(std::make_unique<TensorEntry>(TensorEntry{role, std::move(name), std::move(shape), std::move(doc), "", &tensor}));
    return *tensors.back();
  }
};

class Mechanism {
 public:
  virtual ~Mechanism() = default;
  virtual void describe(Declaration& d) = 0;
  virtual void run(Ops& ops) = 0;

  /// Whether this output member was asked for.
  bool wants(const Tensor& output) const { return wanted.count(&output) != 0; }
  std::set<const Tensor*> wanted;
};

struct Entry {
  std::string slug, family, kind;
  int tier;
  std::string paper;  ///< title; empty where the mechanism is no paper's
  std::function<std::unique_ptr<Mechanism>()> make;
};

}  // namespace heed::mechanism

/// At the end of src/mechanism/<family>/<slug>.cpp; `id` is the file's name with underscores. CMake writes the registry.
#define HEED_MECHANISM(id, Type, slug, family, kind, tier, paper)                                          \
  namespace heed::mechanism {                                                                              \
  Entry entry_##id() {                                                                                     \
    return {slug, family, kind, tier, paper, [] { return std::unique_ptr<Mechanism>(new Type()); }};       \
  }                                                                                                        \
  }
