// SPDX-License-Identifier: Apache-2.0
#include "heed/catalogue.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "mechanism/extent.h"

using namespace heed;
namespace fs = std::filesystem;

namespace {

Tensor ramp(const Shape& shape) {
  Tensor t(DType::f32, shape);
  for (std::int64_t i = 0; i < t.count(); ++i) t.data<float>()[i] = float((i * 37) % 19) / 19.f - 0.5f;
  return t;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(Catalogue, SlugsAreUniqueAndDescribed) {
  std::set<std::string> seen;
  for (const auto& m : list_mechanisms()) {
    EXPECT_TRUE(seen.insert(m.slug).second) << m.slug;
    const auto d = nlohmann::json::parse(describe_mechanism(m.slug));
    ASSERT_FALSE(d["outputs"].empty()) << m.slug;
    EXPECT_EQ(d["outputs"][0]["name"], "out") << m.slug;
    for (const auto& p : d["params"]) EXPECT_FALSE(p["doc"].get<std::string>().empty()) << m.slug << " " << p["name"];
  }
  EXPECT_FALSE(seen.empty());
}

TEST(Catalogue, EveryMechanismHasACaseFile) {
  std::set<std::string> files;
  for (const auto& file : fs::directory_iterator(HEED_SOURCE_DIR "/tests/cases")) {
    const auto name = file.path().stem().string();
    files.insert(name.substr(0, name.find("--")));
  }
  for (const auto& m : list_mechanisms()) EXPECT_TRUE(files.count(m.slug)) << m.slug << " has no case file";
}

TEST(Catalogue, EveryCaseFileVerifiesOnEveryInstructionSet) {
  for (const auto& file : fs::directory_iterator(HEED_SOURCE_DIR "/tests/cases"))
    for (Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512_bf16, Isa::amx}) {
      if (!runs_here(isa)) continue;
      for (int threads : {1, 2}) {
        Context context;
        context.isa = isa;
        context.threads = threads;
        for (const auto& e : verify(file.path().string(), context))
          EXPECT_TRUE(e.passed) << file.path() << " " << e.output << " off by " << e.max_absolute;
      }
    }
}

TEST(Catalogue, BadInputIsNamed) {
  const Tensors qkv{{"q", ramp({1, 3, 2, 4})}, {"k", ramp({1, 5, 2, 4})}, {"v", ramp({1, 5, 2, 4})}};
  const auto says = [](const std::function<void()>& call, const std::string& part) {
    const auto message = message_of(call);
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  says([&] { run("no-such", qkv); }, "mechanism: expected a slug");
  says([&] { run("exact", qkv, {}, R"({"nope": 1})"); }, "parameter nope");
  says([&] { run("exact", qkv, {}, R"({"causal": 1})"); }, "parameter causal: expected true or false");
  says([&] { run("exact", qkv, {}, R"({"softcap": -1})"); }, "parameter softcap: expected at least");
  says([&] { run("exact", qkv, {}, "[]"); }, "params: expected a JSON object");
  says([&] { run("exact", qkv, {}, std::string(1000, '[')); }, "params: expected a JSON object");
  says([&] { run("exact", qkv, {{"w", ramp({1})}}); }, "weight w");
  says([&] { run("exact", qkv, {}, "{}", {"attention"}); }, "output attention");
  says([&] { run("exact", {{"q", ramp({1, 3, 2, 4})}}); }, "input k: expected a tensor of shape");
  auto wrong = qkv;
  wrong["v"] = ramp({1, 4, 2, 4});
  says([&] { run("exact", wrong); }, "input v: expected shape (B M G E) with M = 5, got [1, 4, 2, 4]");
  wrong["v"] = Tensor::zeros(DType::i64, {1, 5, 2, 4});
  says([&] { run("exact", wrong); }, "input v: expected dtype f32, got i64");
}

// Shapes are made of symbols that other tensors bind: those that come first are checked when all are known.
TEST(Catalogue, BadShapesBeforeTheirSymbolsAreNamed) {
  const auto says = [](const std::string& slug, const Tensors& inputs, const Tensors& weights, const std::string& params,
                       const char* part) {
    const auto message = message_of([&] { run(slug, inputs, weights, params); });
    EXPECT_NE(message.find(part), std::string::npos) << message;
  };
  const Tensor edges = Tensor::zeros(DType::i64, {2, 3});
  const Tensors nodes{{"x_src", ramp({4, 6})}, {"x_dst", ramp({3, 5})}, {"edge_index", edges}};
  Tensors gat{
      {"lin_src.weight", ramp({6, 6})}, {"lin_dst.weight", ramp({8, 5})}, {"att_src", ramp({1, 2, 3})}, {"att_dst", ramp({1, 2, 3})}};
  says("gat", nodes, gat, R"({"bipartite": true, "heads": 2})", "weight lin_dst.weight: expected shape (heads*O Cd) with heads*O = 6");
  gat["lin_dst.weight"] = ramp({6, 5}), gat["lin_src.weight"] = ramp({7, 6});
  says("gat", nodes, gat, R"({"bipartite": true, "heads": 2})",
       "weight lin_src.weight: expected shape (heads*O C), a multiple of heads = 2");
  says("gat", nodes, gat, R"({"bipartite": true, "heads": 2, "out_channels": 4})", "lin_src.weight: expected shape (heads*out_channels C)");
  const Tensors weights{{"weight", ramp({6, 6})}, {"att_mh_1", ramp({1, 2, 7})}, {"bias", ramp({6})}};
  says("supergat", {{"x", ramp({4, 6})}, {"edge_index", edges}}, weights, R"({"heads": 2})",
       "weight att_mh_1: expected shape (1 heads 2*O)");
  const Tensor story = Tensor::zeros(DType::i64, {1, 1, 2});
  story.data<std::int64_t>()[1] = 9;
  const Tensors words{{"story", story}, {"question", Tensor::zeros(DType::i64, {1, 2})}};
  says("memn2n", words, {{"A.0.weight", ramp({9, 2})}, {"A.1.weight", ramp({9, 2})}}, R"({"hops": 1, "te": false})",
       "input story: expected words 0 to 8");
  // No batch at all: nothing to do, and no division by it.
  const std::string window = R"({"input_resolution": [4, 4], "window_size": 2, "shift_size": 1, "num_heads": 2})";
  EXPECT_EQ(run("swin", {{"x", ramp({0, 16, 4})}}, {}, window).at("out").shape(), Shape({0, 16, 4}));
}

TEST(Extent, Expressions) {
  const mechanism::Symbols symbols{{"C", 7}, {"ratio", 0.5}, {"window", 4}};
  EXPECT_EQ(mechanism::evaluate("2*window-1", symbols), 7);
  EXPECT_EQ(mechanism::evaluate("int(C*ratio)", symbols), 3);
  EXPECT_EQ(mechanism::evaluate("max(C,window)//2", symbols), 3);
  EXPECT_EQ(mechanism::evaluate("X+1", symbols), std::nullopt);
  EXPECT_THROW(mechanism::evaluate("2*(window", symbols), Error);
}

}  // namespace
