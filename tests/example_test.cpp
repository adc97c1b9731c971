// SPDX-License-Identifier: Apache-2.0
// Examples from declarations: every entry runs on one, under every choice of its parameters.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "heed/catalogue.h"

using namespace heed;
using nlohmann::json;

namespace {

using Given = std::map<std::string, std::int64_t>;

/// Small ones: the usual sizes are those of heed bench. The square of 8 holds windows of 7 as 7 x 7.
Given tiny(const std::string& slug) {
  if (slug == "swin") return {{"N", 196}, {"D", 8}};
  if (slug == "pyramidkv") return {{"N", 96}, {"D", 8}};
  if (slug == "agent-attention") return {{"N", 64}, {"D", 8}};
  if (slug == "fcanet") return {{"N", 64}, {"C", 32}};
  if (slug == "transformer-attribution") return {};
  return {{"B", 2}, {"N", 64}, {"heads", 2}, {"D", 8}};
}
json small_params(const std::string& slug) {
  if (slug == "transformer-attribution") return {{"img_size", 32}, {"depth", 2}, {"embed_dim", 48}, {"num_classes", 10}};
  if (slug == "agent-attention") return {{"agent_num", 16}};
  return json::object();
}

/// Switches of the tables that have one position in what was released: the other is an error.
const std::set<std::string> fixed{"duo-attention causal", "show-attend-tell greedy"};

/// The parameters alone, and each other choice and switched switch.
std::vector<json> choices(const json& declared, const json& base) {
  std::vector<json> all{base};
  for (const json& p : declared["params"]) {
    std::vector<json> others;
    if (fixed.count(declared["slug"].get<std::string>() + " " + p["name"].get<std::string>())) continue;
    if (p["default"].is_boolean()) others = {!p["default"].get<bool>()};
    if (p.contains("choices") && !p["default"].is_array()) others = p["choices"].get<std::vector<json>>();
    for (const json& other : others) {
      if (other == p["default"]) continue;
      all.push_back(base);
      all.back()[p["name"].get<std::string>()] = other;
    }
  }
  return all;
}

class EveryEntry : public testing::TestWithParam<std::string> {};

TEST_P(EveryEntry, RunsOnAnExampleUnderEveryChoice) {
  const std::string slug = GetParam();
  for (const json& params : choices(json::parse(describe_mechanism(slug)), small_params(slug))) {
    Given sizes = tiny(slug);
    if (slug == "agent-attention" && params.value("cls_token", false)) sizes["N"] = 65;
    const Example e = example(slug, sizes, params.dump());
    const Tensor out = run(slug, e.inputs, e.weights, e.params).at("out");
    EXPECT_GT(out.count(), 0) << slug << " " << params;
    if (out.dtype() != DType::f32 || params.value("activation", "") == "relu") continue;  // lama divides by a sum that may be 0
    const Tensor dense = out.dense();
    for (std::int64_t i = 0; i < dense.count(); ++i)
      ASSERT_FALSE(std::isnan(dense.data<float>()[i])) << slug << " " << params << " at " << i;
  }
}

TEST_P(EveryEntry, TakesSixteenBits) {
  const std::string slug = GetParam();
  for (const DType dtype : {DType::bf16, DType::f16}) {
    const Example e = example(slug, tiny(slug), small_params(slug).dump(), {}, dtype);
    for (const auto& [name, tensor] : e.inputs) EXPECT_NE(tensor.dtype(), DType::f32) << slug << " " << name;
    Context fast;
    fast.precision = Precision::fast;
    EXPECT_GT(run(slug, e.inputs, e.weights, e.params, {}, fast).at("out").count(), 0) << slug;
  }
}

/// Optional inputs too, each alone.
TEST_P(EveryEntry, RunsWithOptionalInputs) {
  const std::string slug = GetParam();
  const std::string params = small_params(slug).dump();
  const json described = json::parse(describe_mechanism(slug, params));
  for (const json& input : described["inputs"]) {
    if (input["required"].get<bool>() || input["repeated"].get<bool>() || !input["present"].get<bool>()) continue;
    if (slug == "bibert-bi-attention" && input["name"] == "x") continue;  // in place of q, k and v, which the example has
    const Example e = example(slug, tiny(slug), params, {input["name"]});
    EXPECT_TRUE(e.inputs.count(input["name"])) << slug;
    EXPECT_GT(run(slug, e.inputs, e.weights, e.params).at("out").count(), 0) << slug << " with " << input["name"];
  }
}

/// Lengths, indices and shapes that no tensor has: an error that names the tensor, or (where only their order counts) a result.
TEST_P(EveryEntry, SurvivesIntegersOfAnySize) {
  const std::string slug = GetParam();
  const std::string params = small_params(slug).dump();
  const json declared = json::parse(describe_mechanism(slug, params));
  for (const json& input : declared["inputs"]) {
    if (input["dtype"] != "i64" || input["repeated"].get<bool>() || !input["present"].get<bool>()) continue;
    const std::string name = input["name"];
    const Example e = example(slug, tiny(slug), params, {name});
    using Limits = std::numeric_limits<std::int64_t>;
    for (const std::int64_t value : {Limits::min(), Limits::min() + 1, std::int64_t(-1), std::int64_t(1) << 32, Limits::max()}) {
      Tensors inputs = e.inputs;
      inputs[name] = Tensor(DType::i64, e.inputs.at(name).shape());
      std::fill_n(inputs[name].data<std::int64_t>(), inputs[name].count(), value);
      try {
        run(slug, inputs, e.weights, e.params);
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
      }
    }
  }
}

std::vector<std::string> slugs() {
  std::vector<std::string> names;
  for (const auto& m : list_mechanisms()) names.push_back(m.slug);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Catalogue, EveryEntry, testing::ValuesIn(slugs()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

TEST(Example, SizesBindSymbolsAndParameters) {
  const Example maps = example("se", {{"B", 2}, {"C", 32}, {"H", 10}, {"W", 12}});
  EXPECT_EQ(maps.inputs.at("x").shape(), Shape({2, 32, 10, 12}));
  EXPECT_EQ(maps.weights.at("fc.0.weight").shape(), Shape({2, 32}));
  const Example square = example("se", {{"N", 100}});
  EXPECT_EQ(square.inputs.at("x").shape(), Shape({1, 256, 10, 10}));
  EXPECT_EQ(example("davit-channel-attention", {{"H", 4}, {"W", 6}}).inputs.at("x").shape(), Shape({1, 24, 512}));
  const Example heads = example("crate-mssa", {{"H", 2}, {"D", 16}, {"N", 5}});
  EXPECT_EQ(json::parse(heads.params)["heads"], 2);
  EXPECT_EQ(json::parse(heads.params)["dim_head"], 16);
  EXPECT_EQ(heads.inputs.at("x").shape(), Shape({1, 5, 32}));
  const Example graph = example("gat", {{"N", 20}, {"E", 300}});
  const Tensor& edges = graph.inputs.at("edge_index");
  EXPECT_EQ(edges.shape(), Shape({2, 300}));
  std::set<std::int64_t> seen(edges.data<std::int64_t>(), edges.data<std::int64_t>() + 600);
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), 19);
  const Example again = example("gat", {{"N", 20}, {"E", 300}}), other = example("gat", {{"N", 20}, {"E", 300}}, "{}", {}, DType::f32, 1);
  EXPECT_EQ(again.inputs.at("x").data<float>()[7], graph.inputs.at("x").data<float>()[7]);
  EXPECT_NE(other.inputs.at("x").data<float>()[7], graph.inputs.at("x").data<float>()[7]);
}

TEST(Example, BadSizesAreNamed) {
  const auto says = [](const std::function<void()>& call, const std::string& part) {
    try {
      call();
      ADD_FAILURE() << "nothing thrown: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  says([] { example("se", {{"X", 2}}); }, "size X: expected one of");
  says([] { example("se", {{"C", -2}}); }, "size C: expected 0 to");
  says([] { example("crate-mssa", {{"dim", 3}}, R"({"dim": 4})"); }, "size dim: expected the parameter's 4, got 3");
  says([] { example("se", {}, "{}", {"mask"}); }, "input mask: expected an optional input of se");
  says([] { example("no-such"); }, "mechanism: expected a slug");
}

}  // namespace
