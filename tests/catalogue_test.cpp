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

TEST(Extent, Expressions) {
  const mechanism::Symbols symbols{{"C", 7}, {"ratio", 0.5}, {"window", 4}};
  EXPECT_EQ(mechanism::evaluate("2*window-1", symbols), 7);
  EXPECT_EQ(mechanism::evaluate("int(C*ratio)", symbols), 3);
  EXPECT_EQ(mechanism::evaluate("max(C,window)//2", symbols), 3);
  EXPECT_EQ(mechanism::evaluate("X+1", symbols), std::nullopt);
  EXPECT_THROW(mechanism::evaluate("2*(window", symbols), Error);
}

}  // namespace
