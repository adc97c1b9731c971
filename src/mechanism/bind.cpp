// SPDX-License-Identifier: Apache-2.0
#include "mechanism/bind.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "base/random.h"

namespace heed::mechanism {
namespace {

using Role = TensorEntry::Role;

bool fits_from(const std::string& pattern, std::size_t p, const std::string& name, std::size_t n) {
  if (p == pattern.size()) return n == name.size();
  if (pattern[p] != '{' && pattern[p] != '*') return n < name.size() && pattern[p] == name[n] && fits_from(pattern, p + 1, name, n + 1);
  const bool any = pattern[p] == '*';
  const std::size_t close = any ? p : pattern.find('}', p);
  const bool digits = !any && close == p + 2;
  for (std::size_t end = n + (any ? 0 : 1); end <= name.size(); ++end) {
    if (end > n) {
      const auto c = static_cast<unsigned char>(name[end - 1]);
      if (digits ? !std::isdigit(c) : !any && c == '.') return false;
    }
    if (fits_from(pattern, close + 1, name, end)) return true;
  }
  return false;
}

bool is_float(DType type) { return type == DType::f32 || type == DType::bf16 || type == DType::f16; }

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// Numbers that have no gradient may come as integers or masks.
void check_dtype(const std::string& label, const TensorEntry& entry, DType given) {
  const DType wanted = entry.dtype;
  if (wanted == DType::f32 && !entry.gradient) return;
  const bool mask = wanted == DType::boolean && given == DType::u8;
  if (wanted == DType::f32 ? !is_float(given) : given != wanted && !mask)
    fail(label, std::string("dtype ") + name_of(wanted), name_of(given));
}

void check_bounds(const std::string& label, const TensorEntry& entry, const Tensor& given, const Symbols& symbols) {
  const auto bound = [&](const std::string& text) {
    const auto value = evaluate(text, symbols);
    if (!value) fail(label, "bounds of known sizes", text);
    return whole(label, *value);
  };
  const std::int64_t lower = bound(entry.lower), upper = bound(entry.upper);
  const Tensor values = given.dense();
  for (std::int64_t i = 0; i < values.count(); ++i)
    if (const auto value = values.data<std::int64_t>()[i]; value < lower || value > upper)
      fail(label, std::to_string(lower) + " to " + std::to_string(upper) + " (" + entry.lower + " to " + entry.upper + ")",
           std::to_string(value));
}

/// Throws Error where the symbols do not settle the shape.
Tensor starting_weight(const Declaration& d, const TensorEntry& entry, const std::string& name, const Symbols& symbols,
                       const base::Random& random) {
  std::string shape = entry.shape;
  for (const auto& [symbol, text] : d.sizes)
    if (const auto at = shape.find(symbol); symbol[0] == '*' && at != std::string::npos) shape.replace(at, symbol.size(), text);
  std::vector<std::int64_t> extents;
  for (const std::string& word : words(shape)) {
    const auto extent = word[0] == '*' ? std::nullopt : evaluate(word, symbols);
    if (!extent) fail("weight " + name, "a tensor of shape (" + entry.shape + "), or a parameter or input that settles " + word, "none");
    extents.push_back(whole("weight " + name + ", " + word, *extent));
  }
  Tensor weight(DType::f32, Shape(extents));
  const std::int64_t count = weight.count(),
                     fan_in = extents.empty() || extents[0] == 0 ? 1 : std::max<std::int64_t>(1, count / extents[0]);
  Init start = entry.start;
  if (start == Init::by_name && extents.size() < 2)
    start = ends_with(name, "bias") ? Init::zeros : ends_with(name, "weight") || ends_with(name, "gamma") ? Init::ones : Init::normal;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = std::uint64_t(i);
    weight.data<float>()[i] = start == Init::zeros    ? 0.0f
                              : start == Init::ones   ? 1.0f
                              : start == Init::normal ? float(0.02 * random.normal(at))
                                                      : float((2 * random.uniform(at) - 1) / std::sqrt(double(fan_in)));
  }
  return entry.dtype == DType::f32 ? weight : weight.to(entry.dtype);
}

}  // namespace

const char* role_name(Role role) { return role == Role::input ? "input" : role == Role::weight ? "weight" : "output"; }

bool fits(const std::string& pattern, const std::string& name) { return fits_from(pattern, 0, name, 0); }

TensorEntry* entry_of(const Declaration& d, Role role, const std::string& name) {
  for (const auto& entry : d.tensors)
    if (entry->role == role && entry->present && (entry->many ? fits(entry->name, name) : entry->name == name)) return entry.get();
  return nullptr;
}

void take(Declaration& d, Role role, const Tensors& given, Symbols& symbols) {
  for (const auto& [name, tensor] : given) {
    bool known = entry_of(d, role, name) != nullptr;
    for (const auto& pattern : d.ignored) known = known || (role == Role::weight && fits(pattern, name));
    if (known) continue;
    std::string names;
    for (const auto& e : d.tensors)
      if (e->role == role && e->present) names += (names.empty() ? "" : ", ") + e->name;
    fail(std::string(role_name(role)) + " " + name, names.empty() ? "none" : "one of " + names, "an unknown name");
  }
  const auto set = [&](const TensorEntry& entry, const std::string& name, const Tensor& tensor, Tensor& member) {
    const std::string label = std::string(role_name(role)) + " " + name;
    if (!tensor.defined()) fail(label, "a tensor of shape (" + entry.shape + ")", "none");
    check_dtype(label, entry, tensor.dtype());
    match(label, entry.shape, tensor.shape(), symbols);
    if (entry.dtype == DType::boolean) {  // any byte but 0 is true
      member = Tensor(DType::boolean, tensor.shape());
      const Tensor from = tensor.dense();
      for (std::int64_t i = 0; i < tensor.count(); ++i) member.data<std::uint8_t>()[i] = from.data<std::uint8_t>()[i] != 0;
      return;
    }
    member = entry.dtype == DType::f32 || tensor.dtype() != entry.dtype ? tensor.to(entry.dtype) : tensor;
  };
  for (auto& entry : d.tensors) {
    if (entry->role != role || !entry->present) continue;
    if (entry->many) {
      entry->many->clear();
      const Symbols before = symbols;
      for (const auto& [name, tensor] : given) {
        if (entry_of(d, role, name) != entry.get()) continue;
        symbols = before;  // each binds what is still free by itself
        set(*entry, name, tensor, (*entry->many)[name]);
      }
    } else if (const auto found = given.find(entry->name); found != given.end()) {
      set(*entry, entry->name, found->second, *entry->tensor);
    } else if (entry->required) {
      fail(std::string(role_name(role)) + " " + entry->name, "a tensor of shape (" + entry->shape + ")", "none");
    }
  }
  for (auto& entry : d.tensors)  // what came before a symbol that its shape is made of
    if (entry->role != Role::output && entry->present && entry->tensor && entry->tensor->defined())
      match(std::string(role_name(entry->role)) + " " + entry->name, entry->shape, entry->tensor->shape(), symbols);
  for (auto& entry : d.tensors)  // by now every size is known
    if (entry->role == role && entry->present && !entry->lower.empty() && entry->tensor && entry->tensor->defined())
      check_bounds(std::string(role_name(role)) + " " + entry->name, *entry, *entry->tensor, symbols);
}

Tensors starting_weights(const Declaration& d, const Symbols& symbols, std::uint64_t seed) {
  // What a symbol is in examples is a default where it follows from parameters or inputs; a plain number is an example alone.
  Symbols settled = symbols;
  for (const auto& [symbol, text] : d.sizes) {
    const bool follows = std::any_of(text.begin(), text.end(), [](unsigned char c) { return std::isalpha(c); });
    if (symbol[0] == '*' || settled.contains(symbol) || !follows) continue;
    if (const auto value = evaluate(text, settled)) settled[symbol] = *value;
  }
  Tensors result;
  std::uint64_t stream = 0;
  for (const auto& entry : d.tensors) {
    if (entry->role != Role::weight || !entry->present || !(entry->required || !entry->samples.empty())) continue;
    for (const std::string& name : entry->samples.empty() ? std::vector{entry->name} : entry->samples)
      result[name] = starting_weight(d, *entry, name, settled, base::Random(seed, ++stream));
  }
  return result;
}

}  // namespace heed::mechanism
