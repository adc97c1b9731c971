// SPDX-License-Identifier: Apache-2.0
// Case files: a mechanism's run beside what other code gave.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "heed/catalogue.h"
#include "heed/safetensors.h"

namespace heed {
inline namespace v0 {
namespace {

OutputError compare(const std::string& name, const Tensor& got, const Tensor& want, double rtol, double atol) {
  OutputError error{name, 0, 0, true};
  if (want.dtype() != DType::f32 && want.dtype() != DType::bf16 && want.dtype() != DType::f16) {
    const Tensor g = got.to(DType::i64), w = want.to(DType::i64);
    for (std::int64_t i = 0; i < w.count(); ++i) {
      const double off = std::abs(double(g.data<std::int64_t>()[i]) - double(w.data<std::int64_t>()[i]));
      error.max_absolute = std::max(error.max_absolute, off);
      error.passed = error.passed && off == 0;
    }
    return error;
  }
  const Tensor g = got.to(DType::f32), w = want.to(DType::f32);
  for (std::int64_t i = 0; i < w.count(); ++i) {
    const double a = g.data<float>()[i], b = w.data<float>()[i];
    if (a == b) continue;
    const double off = std::abs(a - b);
    error.passed = error.passed && off <= atol + rtol * std::abs(b);
    error.max_absolute = std::isnan(off) ? off : std::max(error.max_absolute, off);
    if (b != 0) error.max_relative = std::max(error.max_relative, off / std::abs(b));
  }
  return error;
}

}  // namespace

std::vector<OutputError> verify(const std::string& path, const Context& context) {
  const auto file = read_safetensors(path);
  const auto meta = [&](const std::string& key) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end()) fail(path, "metadata '" + key + "'", "none");
    return found->second;
  };
  const auto number = [&](const std::string& key) {
    char* end = nullptr;
    const std::string text = meta(key);
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end || !(value >= 0) || !std::isfinite(value)) fail(path + ": " + key, "a number of 0 or more", "'" + text + "'");
    return value;
  };
  const double rtol = number("rtol"), atol = number("atol");
  Tensors inputs, weights, wanted, cotangents;
  std::vector<std::string> of;
  std::vector<std::string> names;
  for (const auto& [name, tensor] : file.tensors) {
    if (name.rfind("in.", 0) == 0)
      inputs[name.substr(3)] = tensor;
    else if (name.rfind("weight.", 0) == 0)
      weights[name.substr(7)] = tensor;
    else if (name.rfind("out.", 0) == 0)
      wanted[name.substr(4)] = tensor, names.push_back(name.substr(4));
    else if (name.rfind("cotangent.", 0) == 0)
      cotangents[name.substr(10)] = tensor;
    else if (name.rfind("grad.", 0) == 0)
      wanted[name] = tensor, of.push_back(name.substr(5));
    else
      fail(path + ": " + name, "in., weight., out., grad. or cotangent. names", "another");
  }
  if (names.empty()) fail(path, "at least one out. tensor", "none");
  for (const auto& [name, tensor] : cotangents)
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  const Recording recording = record(meta("mechanism"), inputs, weights, of, meta("params"), names, context);
  Tensors got = recording.outputs;
  if (!of.empty())
    for (const auto& [name, gradient] : recording.gradients(cotangents)) got["grad." + name] = gradient;
  std::vector<OutputError> errors;
  for (const auto& [name, want] : wanted) {
    if (got.at(name).shape() != want.shape()) fail(path + ": " + name, "shape " + got.at(name).shape().text(), want.shape().text());
    errors.push_back(compare(name, got.at(name), want, rtol, atol));
  }
  return errors;
}

}  // namespace v0
}  // namespace heed
