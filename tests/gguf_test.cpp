// SPDX-License-Identifier: Apache-2.0
#include "heed/gguf.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

using namespace heed;

namespace {

struct Bytes {
  std::string text;
  template <class T>
  Bytes& put(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& name(const std::string& s) {
    put(std::uint64_t(s.size()));
    text += s;
    return *this;
  }
};

/// One f32 tensor "x" of 3 elements, one u32 key.
std::string small_file(std::uint32_t type = 0, std::uint64_t extent = 3, std::uint64_t offset = 0) {
  Bytes b;
  b.text = "GGUF";
  b.put(std::uint32_t(3)).put(std::uint64_t(1)).put(std::uint64_t(1));
  b.name("answer").put(std::uint32_t(4)).put(std::uint32_t(42));
  b.name("x").put(std::uint32_t(1)).put(extent).put(type).put(offset);
  b.text.resize((b.text.size() + 31) / 32 * 32, '\0');
  for (float value : {1.f, -2.f, 0.5f}) b.put(value);
  return b.text;
}

Gguf open_bytes(const std::string& bytes) {
  const auto path = (std::filesystem::temp_directory_path() / ("heed-gguf-" + std::to_string(getpid()))).string();
  std::ofstream(path, std::ios::binary) << bytes;
  const std::shared_ptr<void> gone(nullptr, [&](void*) { std::filesystem::remove(path); });  // what is mapped stays
  return read_gguf(path);
}

TEST(Gguf, ReadsATensor) {
  const auto file = open_bytes(small_file());
  EXPECT_EQ(file.metadata.count("answer"), 1u);
  const Tensor x = dequantise(file.tensors.at("x"));
  ASSERT_EQ(x.shape(), (Shape{3}));
  EXPECT_EQ(x.data<float>()[0], 1.f);
  EXPECT_EQ(x.data<float>()[1], -2.f);
  EXPECT_EQ(x.data<float>()[2], 0.5f);
}

TEST(Gguf, EveryTruncationIsRefused) {
  const auto whole = small_file();
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_THROW(open_bytes(whole.substr(0, n)), Error) << n;
}

TEST(Gguf, HostileHeadersAreRefused) {
  auto magic = small_file();
  magic[0] = 'X';
  EXPECT_THROW(open_bytes(magic), Error);
  EXPECT_THROW(open_bytes(small_file(200)), Error);            // unknown type
  EXPECT_THROW(open_bytes(small_file(2)), Error);              // Q4_0: 3 is no multiple of 32
  EXPECT_THROW(open_bytes(small_file(0, 1ull << 62)), Error);  // huge
  EXPECT_THROW(open_bytes(small_file(0, 3, 64)), Error);       // outside the file
  EXPECT_THROW(open_bytes(small_file(0, 3, 4)), Error);        // misaligned
  EXPECT_THROW(read_gguf("/no/such/file.gguf"), Error);
}

}  // namespace
