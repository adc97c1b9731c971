// SPDX-License-Identifier: Apache-2.0
// What a mechanism's file includes: the declaration it fills in and the words it computes with.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "heed/tensor.h"

namespace heed {
inline namespace v0 {
class Ops;
}
}  // namespace heed

namespace heed::mechanism {

/// A switch, or a word that names a variant of it.
using Choice = std::variant<bool, std::string>;

/// Where a parameter lives in its mechanism; the member's initialiser is the default.
/// A list also takes a single value.
using Slot =
    std::variant<bool*, std::int64_t*, double*, std::string*, std::optional<bool>*, std::optional<double>*, std::optional<std::int64_t>*,
                 std::optional<std::string>*, std::vector<bool>*, std::vector<std::int64_t>*, std::vector<double>*,
                 std::vector<std::string>*, std::optional<std::vector<std::int64_t>>*, std::vector<std::vector<std::int64_t>>*,
                 std::vector<std::vector<double>>*, std::vector<std::vector<std::string>>*, std::map<std::string, std::int64_t>*, Choice*>;

/// How a weight begins where none is given (seeded). by_name: uniform in +-1/sqrt(fan in) from rank 2 on; of the vectors, zeros
/// for biases, ones for the other weights of norms ("weight", "gamma"), else normal of deviation 0.02.
enum class Init : std::uint8_t { by_name, zeros, ones, normal };

/// A tensor a mechanism takes or gives. Shapes are symbols, integers or expressions of symbols and parameters, separated by
/// spaces ("B N 2*dim"); `*name` stands for any number of axes.
struct TensorEntry {
  enum class Role { input, weight, output } role;
  std::string name, shape, doc, condition;
  Tensor* tensor;
  std::map<std::string, Tensor>* many = nullptr;  ///< of a repeated entry, by its whole name
  Init start = Init::by_name;
  DType dtype = DType::f32;
  bool required = true, gradient = true, present = true;
  std::string least{}, most{};         ///< of random values, expressions of sizes; empty: normal ones, integers below 2
  std::string lower{}, upper{};        ///< bounds of integers, expressions of sizes; empty: none
  std::vector<std::string> filled{};   ///< what stands there in place of random values
  std::vector<std::string> samples{};  ///< names under which examples have it though it need not be given

  TensorEntry& optional() {
    required = false;
    return *this;
  }
  TensorEntry& init(Init how) {
    start = how;
    return *this;
  }
  /// Selected, integer or constant: asking for its gradient is an error.
  TensorEntry& no_gradient() {
    gradient = false;
    return *this;
  }
  TensorEntry& of(DType type) {
    dtype = type;
    gradient = gradient && type == DType::f32;
    return *this;
  }
  /// Values that make sense, both ends included: expressions of sizes and parameters ("0", "N-1").
  TensorEntry& between(std::string from, std::string to) {
    least = std::move(from), most = std::move(to);
    return *this;
  }
  /// Integers given outside of these, both ends included, are an error before the mechanism runs: lengths ("0", "N").
  TensorEntry& within(std::string from, std::string to) {
    lower = from, upper = to;
    return between(std::move(from), std::move(to));
  }
  /// What examples hold where random values make no sense: value n is expression n modulo their number, of sizes, parameters and
  /// i, how often the list has been gone through: {"8*i", "8*i+7"} is 0, 7, 8, 15, ...
  TensorEntry& example(std::vector<std::string> values) {
    filled = std::move(values);
    return *this;
  }
  /// Examples (heed bench) have it although it is optional; one of a pattern under these names.
  TensorEntry& sample(std::vector<std::string> names = {}) {
    samples = names.empty() ? std::vector{name} : std::move(names);
    return *this;
  }
  /// Present only where `holds`; `text` says so in the docs ("kind=col").
  TensorEntry& when(bool holds, std::string text) {
    present = holds;
    condition = std::move(text);
    return *this;
  }
};

struct ParamEntry {
  std::string name, doc, computed_as, sample;
  Slot slot;
  std::optional<double> least_value, most_value;
  std::vector<std::string> choices;

  ParamEntry& least(double value) {
    least_value = value;
    return *this;
  }
  ParamEntry& most(double value) {
    most_value = value;
    return *this;
  }
  ParamEntry& one_of(std::vector<std::string> values) {
    choices = std::move(values);
    return *this;
  }
  /// The value of examples where the default says nothing, as JSON.
  ParamEntry& example(std::string json) {
    sample = std::move(json);
    return *this;
  }
  /// What an absent value stands for, as text ("1/sqrt(D)").
  ParamEntry& computed(std::string text) {
    computed_as = std::move(text);
    return *this;
  }
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
  /// Any number of tensors whose names fit the pattern: {i} stands for digits where one letter is inside, else for text without a
  /// dot ("x{i}", "edge_{head}_rel_{tail}"). Each binds the shape by itself where the shape's symbols are not bound yet.
  TensorEntry& inputs(std::string pattern, std::map<std::string, Tensor>& named, std::string shape, std::string doc) {
    return add(TensorEntry::Role::input, std::move(pattern), named, std::move(shape), std::move(doc));
  }
  TensorEntry& weights(std::string pattern, std::map<std::string, Tensor>& named, std::string shape, std::string doc = "") {
    return add(TensorEntry::Role::weight, std::move(pattern), named, std::move(shape), std::move(doc));
  }
  TensorEntry& outputs(std::string pattern, std::map<std::string, Tensor>& named, std::string shape, std::string doc = "") {
    return add(TensorEntry::Role::output, std::move(pattern), named, std::move(shape), std::move(doc));
  }
  /// NAME.weight (out, in) and NAME.bias (out).
  void linear(const std::string& name, Tensor& weight, Tensor& bias, const std::string& out, const std::string& in, bool has_bias = true) {
    this->weight(name + ".weight", weight, out + " " + in);
    if (has_bias) this->weight(name + ".bias", bias, out);
  }
  /// Entries of official state dicts that carry nothing here; `*` stands for any text ("*.num_batches_tracked").
  void ignore(std::string pattern) { ignored.push_back(std::move(pattern)); }
  /// What a symbol is in examples (heed bench) unless said otherwise: an expression of other symbols and parameters ("8*N"), or of
  /// `*name` the extents. Usual names need none (heed/catalogue.h, example).
  void size(std::string symbol, std::string text) { sizes.emplace_back(std::move(symbol), std::move(text)); }
  /// Nothing here has a gradient, and why; asking for one is an error.
  void no_gradients(std::string why) { gradient_refused = std::move(why); }

  template <class T>
  ParamEntry& param(std::string name, T& value, std::string doc) {
    params.push_back(std::make_unique<ParamEntry>(ParamEntry{std::move(name), std::move(doc), "", "", &value, {}, {}, {}}));
    return *params.back();
  }

  std::vector<std::unique_ptr<TensorEntry>> tensors;
  std::vector<std::unique_ptr<ParamEntry>> params;
  std::vector<std::pair<std::string, std::string>> sizes;
  std::vector<std::string> ignored;
  std::string gradient_refused;

 private:
  TensorEntry& add(TensorEntry::Role role, std::string name, std::map<std::string, Tensor>& named, std::string shape, std::string doc) {
    tensors.push_back(
        std::make_unique<TensorEntry>(TensorEntry{role, std::move(name), std::move(shape), std::move(doc), "", nullptr, &named}));
    tensors.back()->required = false;
    return *tensors.back();
  }
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
  std::set<const void*> wanted;
  bool wants(const std::map<std::string, Tensor>& outputs) const { return wanted.count(&outputs) != 0; }
};

/// The layer of a trained model whose attention a mixer stands in for.
struct Layer {
  std::int64_t index = 0, heads = 0, kv_heads = 0, key_width = 0, value_width = 0;
  std::int64_t capacity = 0;      ///< the most tokens that will be read
  std::int64_t window_left = -1;  ///< the model's own window: p - left <= j; -1: none
  DType kept = DType::f32;        ///< of keys and values in a cache: f32, bf16 or f16
};

/// A mechanism's second body: it reads a text chunk by chunk and keeps a state a layer. Implemented by the Mechanism itself, which
/// gives it its parameters. Causal: a token sees itself and what stands before it.
class Mixer {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual std::int64_t bytes() const = 0;  ///< held now
  };
  virtual ~Mixer() = default;

  virtual std::unique_ptr<State> open(const Layer& layer) = 0;
  /// q (1, n, H, D), k (1, n, G, D), v (1, n, G, E), f32, of the tokens at first, first + 1, ...: any n, one being decoding, all
  /// of them read before `first`. q and k are rotated unless before_rotation(). Writes out (1, n, H, E), f32.
  virtual void read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) = 0;

  virtual bool before_rotation() const { return false; }
  /// Chooses from the whole prompt: the first read is called once a layer with all of it.
  virtual bool whole_prompt() const { return false; }
};

struct Entry {
  std::string slug, family, kind;
  int tier;
  std::string paper;  ///< title; empty where the mechanism is no paper's
  std::function<std::unique_ptr<Mechanism>()> make;
};

}  // namespace heed::mechanism

/// At the end of src/mechanism/<family>/<slug>.cpp; `id` is the file's name with underscores. CMake writes the registry.
#define HEED_MECHANISM(id, Type, slug, family, kind, tier, paper) \
  namespace heed::mechanism {                                     \
  Entry entry_##id() {                                            \
    return {slug, family, kind, tier, paper, [] { return std::unique_ptr<Mechanism>(new Type()); }};             \
  }                                                               \
  }
