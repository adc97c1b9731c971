// SPDX-License-Identifier: Apache-2.0
// The runtime on the byte model of models/stdlib-lm. Against transformers: tests/python/test_model.py.
#include "heed/model.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "heed/safetensors.h"
#include "kernel/rows.h"

namespace heed {
namespace {

const std::string directory = HEED_SOURCE_DIR "/models/stdlib-lm";
const Context strict{.precision = Precision::strict};

const Model& small_model() {
  static const Model model = Model::load(directory);
  return model;
}

std::vector<int> text_ids(std::size_t n) {
  std::ifstream file(directory + "/train.py", std::ios::binary);
  std::string text(n, ' ');
  file.read(text.data(), std::streamsize(n));
  return small_model().tokenizer().encode(text);
}

Tensor logits(const std::vector<int>& ids, const std::vector<std::size_t>& pieces, const Context& context, const Way& way = {}) {
  Session session(small_model(), std::int64_t(ids.size()), way, context);
  std::size_t at = 0;
  Tensor state;
  for (const auto n : pieces) state = session.read(std::span(ids).subspan(at, n)), at += n;
  EXPECT_EQ(at, ids.size());
  return session.logits(state);
}

double difference(const Tensor& a, const Tensor& b) {
  double most = 0;
  for (std::int64_t i = 0; i < a.count(); ++i) most = std::max(most, std::abs(double(a.data<float>()[i]) - double(b.data<float>()[i])));
  return most;
}

TEST(Model, ChunksAndThreadsChangeNothing) {
  const auto ids = text_ids(1100);
  const Tensor whole = logits(ids, {1100}, strict);
  EXPECT_LE(difference(whole, logits(ids, {1, 700, 2, 397}, strict)), 1e-4);
  for (const auto precision : {Precision::strict, Precision::fast}) {
    Context one{.precision = precision}, two = one;
    one.threads = 1, two.threads = 3;
    const Tensor a = logits(ids, {900, 200}, one), b = logits(ids, {900, 200}, two);
    EXPECT_EQ(std::memcmp(a.data<float>(), b.data<float>(), std::size_t(a.count()) * 4), 0);
    EXPECT_LE(difference(whole, a), precision == Precision::strict ? 1e-4 : 0.3);
  }
}

TEST(Model, KeptStatesAreTheLastOnes) {
  const auto ids = text_ids(600);
  Session all(small_model(), 600, {}, strict), some(small_model(), 600, {}, strict);
  const Tensor every = all.read(ids, -1), last = some.read(ids, 90);
  ASSERT_EQ(every.extent(0), 600);
  ASSERT_EQ(last.extent(0), 90);
  EXPECT_LE(difference(last, every.slice(0, 510, 90).dense()), 1e-4);
  EXPECT_EQ(some.position(), 600);
  EXPECT_EQ(some.kv_bytes(), 600 * 2 * 2 * 64 * 6 * 4);
}

TEST(Model, ScoresAreLogProbabilities) {
  const auto ids = text_ids(700);
  Session session(small_model(), 700, {}, strict), other(small_model(), 700, {}, strict);
  const auto scores = score(session, ids);
  ASSERT_EQ(scores.size(), 699u);
  const Tensor rows = other.logits(other.read(ids, -1));
  double nats = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const float* row = rows.data<float>() + i * 256;
    double sum = 0;
    for (int j = 0; j < 256; ++j) sum += std::exp(double(row[j]));
    EXPECT_NEAR(scores[i], row[ids[i + 1]] - std::log(sum), 1e-4);
    nats -= scores[i];
  }
  EXPECT_LT(nats / std::log(2.0) / 700, 3.0) << "the model knows its own training script's language";
  EXPECT_THROW(score(session, ids), Error);
}

TEST(Model, GenerationRepeatsWithItsSeed) {
  const auto ids = text_ids(50);
  const auto write = [&](Sampling sampling) {
    Session session(small_model(), 80, {}, strict);
    return generate(session, ids, 20, sampling);
  };
  EXPECT_EQ(write({}).size(), 20u);
  EXPECT_EQ(write({}), write({.temperature = 1, .top_k = 1}));
  const Sampling warm{.temperature = 1.5, .top_k = 40, .top_p = 0.95, .seed = 3};
  EXPECT_EQ(write(warm), write(warm));
  Sampling other = warm;
  other.seed = 4;
  EXPECT_NE(write(warm), write(other));
  Session session(small_model(), 60, {}, strict);
  EXPECT_THROW(generate(session, ids, 12), Error);
  int seen = 0;
  EXPECT_EQ(generate(session, ids, 11, {}, [&](int) { return ++seen < 3; }).size(), 3u);
}

TEST(Sample, FollowsTheDistribution) {
  const Tensor row = Tensor::of({1.0f, 3.0f, 2.0f, -1.0f}, {4});
  int counts[4] = {};
  for (std::uint64_t i = 0; i < 20000; ++i) ++counts[sample(row, {.temperature = 2, .seed = 11}, i)];
  double total = 0;
  for (int i = 0; i < 4; ++i) total += std::exp(row.data<float>()[i] / 2);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(counts[i] / 20000.0, std::exp(row.data<float>()[i] / 2) / total, 0.015) << i;
  int kept[4] = {};
  for (std::uint64_t i = 0; i < 2000; ++i) ++kept[sample(row, {.temperature = 1, .top_k = 3, .top_p = 0.8, .seed = 5}, i)];
  EXPECT_EQ(kept[0] + kept[3], 0);  // 0.665 + 0.245 of the three reach 0.8
  EXPECT_GT(kept[2], 300);
  EXPECT_EQ(sample(row, {}, 0), 1);
  EXPECT_THROW(sample(row, {.temperature = -1}, 0), Error);
  EXPECT_THROW(sample(row, {.temperature = 1, .top_p = 0}, 0), Error);
  EXPECT_THROW(sample(row, {.temperature = 1, .top_k = -1}, 0), Error);
}

std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Model, RefusesWhatItCannotRead) {
  const auto ids = text_ids(10);
  Session session(small_model(), 20);
  EXPECT_THROW(session.read({}), Error);
  EXPECT_THROW(session.read(std::vector<int>{256}), Error);
  EXPECT_THROW(session.read(std::vector<int>{-1}), Error);
  EXPECT_THROW(session.read(text_ids(21)), Error);
  EXPECT_THROW(session.read(ids, 11), Error);
  EXPECT_EQ(session.position(), 0);
  EXPECT_THROW(Session(small_model(), 0), Error);
  EXPECT_NE(message([] { Session(small_model(), 4097); }).find("4096"), std::string::npos);
  EXPECT_THROW(Session(small_model(), 10, {"relu-attention"}), Error);
  EXPECT_THROW(Session(small_model(), 10, {"no-such-way"}), Error);
  EXPECT_THROW(Session(small_model(), 10, parse_way("sliding-window,widnow=3")), Error);
  EXPECT_THROW(parse_way("exact,softcap"), Error);
  EXPECT_EQ(parse_way("exact,window=[3,0],weighting=softmax").params, R"({"weighting":"softmax","window":[3,0]})");
}

/// A copy of the model whose config and tensors may be spoilt.
struct Broken : testing::Test {
  std::filesystem::path folder;
  nlohmann::json config;
  SafeTensors weights;

  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder = std::filesystem::path(testing::TempDir()) / ("heed-" + name + "-" + std::to_string(getpid()));
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    std::ifstream(directory + "/config.json") >> config;
    weights = read_safetensors(directory + "/model.safetensors");
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  void write() {
    std::ofstream(folder / "config.json") << config;
    write_safetensors((folder / "model.safetensors").string(), weights);
  }
  std::string loading() {
    return message([&] { Model::load(folder.string()); });
  }
};

TEST_F(Broken, EachKeyIsNamed) {
  write();
  EXPECT_EQ(loading(), "no error");
  const auto sound = config;
  for (const auto* key : {"model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
                          "max_position_embeddings", "rms_norm_eps"}) {
    for (const nlohmann::json& value : {nlohmann::json(), nlohmann::json("x"), nlohmann::json(-1), nlohmann::json(0)}) {
      config = sound;
      value.is_null() ? (void)config.erase(key) : (void)(config[key] = value);
      std::ofstream(folder / "config.json") << config;
      EXPECT_NE(loading().find(key), std::string::npos) << key << " " << value << ": " << loading();
    }
  }
  config = sound;
  config["hidden_act"] = "gelu";
  std::ofstream(folder / "config.json") << config;
  EXPECT_NE(loading().find("hidden_act"), std::string::npos);
  std::ofstream(folder / "config.json") << "[";
  EXPECT_NE(loading(), "no error");
}

TEST_F(Broken, MissingAndMisshapenTensorsAreNamed) {
  const std::string name = "model.layers.3.mlp.up_proj.weight";
  const Tensor sound = weights.tensors.at(name);
  weights.tensors.erase(name);
  write();
  EXPECT_NE(loading().find(name), std::string::npos) << loading();
  weights.tensors[name] = sound.transpose(0, 1).dense();
  write();
  EXPECT_NE(loading().find("[704, 256]"), std::string::npos) << loading();
}

TEST_F(Broken, PartsOfAnIndexAreOneModel) {
  SafeTensors first, second;
  nlohmann::json map;
  std::size_t i = 0;
  for (const auto& [name, tensor] : weights.tensors) {
    (++i % 2 ? first : second).tensors[name] = tensor;
    map[name] = i % 2 ? "a.safetensors" : "b.safetensors";
  }
  std::ofstream(folder / "config.json") << config;
  write_safetensors((folder / "a.safetensors").string(), first);
  write_safetensors((folder / "b.safetensors").string(), second);
  std::ofstream(folder / "model.safetensors.index.json") << nlohmann::json{{"weight_map", map}};
  const auto ids = text_ids(40);
  Session whole(small_model(), 40, {}, strict), parts(Model::load(folder.string()), 40, {}, strict);
  EXPECT_EQ(difference(whole.read(ids, -1), parts.read(ids, -1)), 0);
  EXPECT_EQ(small_model().hash(), Model::load(directory).hash());
  EXPECT_NE(small_model().hash(), parts.model().hash());
  map.begin().value() = "../a.safetensors";
  std::ofstream(folder / "model.safetensors.index.json") << nlohmann::json{{"weight_map", map}};
  EXPECT_NE(loading(), "no error");
}

TEST(Rows, EveryWidthAgreesWithTheFormula) {
  const base::Random random(1, 2);
  std::vector<const kernel::RowTable*> tables{&kernel::avx2_rows};
  if (runs_here(Isa::avx512)) tables.push_back(&kernel::avx512_rows);
  for (const auto* table : tables)
    for (const std::int64_t n : {1, 7, 8, 16, 33, 64, 577}) {
      std::vector<float> x, y, w, got(std::size_t(n), 0.0f);
      for (std::int64_t i = 0; i < n; ++i) {
        x.push_back(float(4 * random.normal(std::uint64_t(3 * i))));
        y.push_back(float(random.normal(std::uint64_t(3 * i + 1))));
        w.push_back(float(random.normal(std::uint64_t(3 * i + 2))));
      }
      double squares = 0, sum = 0;
      for (const float v : x) squares += double(v) * v, sum += std::exp(double(v));
      table->rms_norm(x.data(), w.data(), 1e-5f, n, got.data());
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(got[i], x[i] / std::sqrt(squares / double(n) + 1e-5) * w[i], 1e-5);
      EXPECT_NEAR(table->log_sum_exp(x.data(), n), std::log(sum), 1e-5);
      got = x;
      table->silu_mul(got.data(), y.data(), n);
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(got[i], x[i] / (1 + std::exp(-double(x[i]))) * y[i], 1e-5);
      got = x;
      table->blend(got.data(), 0.25f, y.data(), 3.0f, n);
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(got[i], 0.25f * x[i] + 3.0f * y[i], 1e-5);
      if (n % 2 == 0) {
        got = x;
        const auto half = std::size_t(n / 2);
        table->rotate(got.data(), y.data(), w.data(), n / 2);
        for (std::size_t i = 0; i < half; ++i) {
          EXPECT_NEAR(got[i], x[i] * y[i] - x[half + i] * w[i], 1e-5);
          EXPECT_NEAR(got[half + i], x[half + i] * y[i] + x[i] * w[i], 1e-5);
        }
      }
      const Tensor floats = Tensor::of(x, {n}), halves = floats.to(DType::f16), brains = floats.to(DType::bf16);
      std::vector<std::uint16_t> bits(std::size_t(n), 0);
      table->to_f16(x.data(), n, bits.data());
      EXPECT_EQ(std::memcmp(bits.data(), halves.data<std::uint16_t>(), bits.size() * 2), 0);
      table->to_bf16(x.data(), n, bits.data());
      EXPECT_EQ(std::memcmp(bits.data(), brains.data<std::uint16_t>(), bits.size() * 2), 0);
    }
  const float extreme[] = {-INFINITY, -200.0f, 88.5f, 1000.0f};
  for (const auto* table : tables)
    for (const float v : extreme) {
      float gate[8], up[8];
      std::fill_n(gate, 8, v), std::fill_n(up, 8, 2.0f);
      table->silu_mul(gate, up, 8);
      if (v > 0) {
        EXPECT_NEAR(gate[3], 2 * v, 1e-3);
      } else if (std::isfinite(v)) {
        EXPECT_NEAR(gate[3], 0, 1e-30);
      }
    }
}

}  // namespace
}  // namespace heed
