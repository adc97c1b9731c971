// SPDX-License-Identifier: Apache-2.0
// Any mechanism on an example of any small size, under any parameters, with numbers that a user may well have: zeros, infinities, NaN,
// lengths and indices of any size, transposed tensors, 16 bits. It ends in results (and gradients) or in an error.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "fuzz.h"
#include "heed/catalogue.h"

namespace {

using heed::DType;
using heed::Tensor;
using nlohmann::json;
using Bytes = FuzzedDataProvider;

template <class T, std::size_t n>
T one_of(Bytes& bytes, const T (&values)[n]) {
  return values[bytes.ConsumeIntegralInRange<std::size_t>(0, n - 1)];
}

json number(Bytes& bytes, bool whole) {
  static constexpr std::int64_t integers[] = {-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 25};
  static constexpr double reals[] = {-1, 0, 0.25, 0.5, 0.9, 1, 2, 7.5, 1e-9, 1e30};
  return whole ? json(one_of(bytes, integers)) : json(one_of(bytes, reals));
}

/// A value of the type of the declared one, or null.
json value(Bytes& bytes, const json& param) {
  if (bytes.ConsumeIntegralInRange(0, 15) == 15) return nullptr;
  if (param.contains("choices")) return param["choices"][bytes.ConsumeIntegralInRange<std::size_t>(0, param["choices"].size() - 1)];
  const json& now = param["default"];
  if (now.is_boolean()) return bytes.ConsumeBool();
  const bool whole = now.is_number_integer() || param["type"].get<std::string>().find("int") != std::string::npos;
  if (now.is_array()) {
    json list = json::array();
    for (int n = bytes.ConsumeIntegralInRange(0, 4); n > 0; --n)
      list.push_back(number(bytes, now.empty() ? whole : now[0].is_number_integer()));
    return list;
  }
  return number(bytes, whole);
}

void spoil(Bytes& bytes, Tensor& t) {
  static constexpr std::int64_t integers[] = {
      -1, 0, 1, 1000, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()};
  static constexpr float reals[] = {0, -1, 1e-38f, 1e30f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()};
  const int how = bytes.ConsumeIntegralInRange(0, 7);
  if (t.rank() > 1 && how % 4 == 1) t = t.transpose(0, t.rank() - 1).dense().transpose(0, t.rank() - 1);
  if (t.count() == 0 || how < 4 || (t.dtype() != DType::i64 && t.dtype() != DType::f32)) return;
  t = t.dense();
  const auto at = bytes.ConsumeIntegralInRange<std::int64_t>(0, t.count() - 1);
  const auto last = how < 6 ? at + 1 : t.count();
  if (t.dtype() == DType::i64)
    std::fill(t.data<std::int64_t>() + at, t.data<std::int64_t>() + last, one_of(bytes, integers));
  else
    std::fill(t.data<float>() + at, t.data<float>() + last, one_of(bytes, reals));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto mechanisms = heed::list_mechanisms();
  return fuzz::attempt([&] {
    Bytes bytes(data, size);
    const std::string& slug = mechanisms[bytes.ConsumeIntegralInRange<std::size_t>(0, mechanisms.size() - 1)].slug;
    json params = json::object();
    const json untouched = json::parse(heed::describe_mechanism(slug));
    for (const json& param : untouched["params"])
      if (bytes.ConsumeIntegralInRange(0, 3) == 3) params[param["name"].get<std::string>()] = value(bytes, param);
    const json declared = json::parse(heed::describe_mechanism(slug, params.dump()));
    std::map<std::string, std::int64_t> sizes{{"B", 1}, {"N", 16}, {"heads", 2}, {"D", 8}};
    for (auto& [name, size] : sizes)
      if (bytes.ConsumeBool()) size = bytes.ConsumeIntegralInRange<std::int64_t>(0, name == "N" ? 24 : 9);
    for (const json& input : declared["inputs"]) {  // sizes of its own: keys apart from queries, edges, height and width
      std::istringstream shape(input["shape"].get<std::string>());
      for (std::string symbol; shape >> symbol;)
        if (std::all_of(symbol.begin(), symbol.end(), [](unsigned char c) { return std::isalpha(c); }) &&
            bytes.ConsumeIntegralInRange(0, 3) == 3)
          sizes[symbol] = bytes.ConsumeIntegralInRange<std::int64_t>(0, 20);
    }
    std::vector<std::string> with, outputs, of;
    for (const json& input : declared["inputs"])
      if (!input["required"].get<bool>() && !input["repeated"].get<bool>() && bytes.ConsumeBool()) with.push_back(input["name"]);
    heed::Example e = heed::example(slug, sizes, params.dump(), with, bytes.ConsumeBool() ? DType::bf16 : DType::f32);
    std::int64_t elements = 0;
    for (auto* group : {&e.inputs, &e.weights})
      for (auto& [name, tensor] : *group) elements += tensor.count(), spoil(bytes, tensor);
    if (elements > 1 << 18) return;
    for (const json& output : declared["outputs"])
      if (!output["repeated"].get<bool>() && bytes.ConsumeBool()) outputs.push_back(output["name"]);
    heed::Context context;
    context.threads = 1;
    context.precision = bytes.ConsumeBool() ? heed::Precision::strict : heed::Precision::fast;
    fuzz::use(heed::run(slug, e.inputs, e.weights, e.params, outputs, context).size());
    if (!bytes.ConsumeBool()) return;
    for (const json& input : declared["inputs"])
      if (input["gradient"].get<bool>() && e.inputs.count(input["name"])) of.push_back("in." + input["name"].get<std::string>());
    for (const json& weight : declared["weights"])
      if (weight["gradient"].get<bool>() && e.weights.count(weight["name"])) of.push_back("weight." + weight["name"].get<std::string>());
    const heed::Recording recording = heed::record(slug, e.inputs, e.weights, of, e.params, {}, context);
    heed::Tensors cotangents;
    for (const auto& [name, tensor] : recording.outputs) {
      Tensor ones(DType::f32, tensor.shape());
      std::fill(ones.data<float>(), ones.data<float>() + ones.count(), 1.0f);
      cotangents[name] = ones;
    }
    fuzz::use(recording.gradients(cotangents).size());
  });
}
