// SPDX-License-Identifier: Apache-2.0
#include "heed/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "format/mapping.h"

namespace heed {
namespace {

namespace fs = std::filesystem;

class SafeTensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "heed-safetensors-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name = "a.safetensors") const { return (folder_ / name).string(); }
  void put(const std::string& bytes) const { std::ofstream(path(), std::ios::binary) << bytes; }
  std::string get() const {
    std::ifstream in(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static std::string framed(const std::string& header, const std::string& data = "") {
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
  }
  /// The message with which the bytes are refused.
  std::string refused(const std::string& bytes) const {
    put(bytes);
    try {
      read_safetensors(path());
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_NE(message.find("a.safetensors"), std::string::npos) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      return message;
    }
    ADD_FAILURE() << "accepted: " << bytes.substr(0, 300);
    return "";
  }
  std::string refused_header(const std::string& header, const std::string& data = "") const { return refused(framed(header, data)); }

  fs::path folder_;
};

Tensor filled(DType dtype, const Shape& shape) {
  Tensor t = Tensor::zeros(dtype, shape);
  auto* p = t.data<unsigned char>();
  for (std::size_t i = 0; i < std::size_t(t.count()) * size_of(dtype); ++i) {
    p[i] = static_cast<unsigned char>(dtype == DType::boolean ? i % 2 : i * 37 + 11);
  }
  return t;
}

void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  if (a.count() == 0) return;
  const Tensor x = a.dense(), y = b.dense();
  EXPECT_EQ(std::memcmp(x.data<void>(), y.data<void>(), std::size_t(x.count()) * size_of(x.dtype())), 0);
}

const char* const f32_2 = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST_F(SafeTensorsTest, RoundTrip) {
  SafeTensors out;
  for (DType d : {DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean}) {
    const std::string name = name_of(d);
    out.tensors[name] = filled(d, {3, 5});
    out.tensors[name + ".scalar"] = filled(d, Shape{});
    out.tensors[name + ".empty"] = filled(d, {4, 0, 2});
    out.tensors[name + ".deep"] = filled(d, {1, 2, 1, 3, 1, 1, 2, 1});
  }
  out.tensors["h\u00e9\"\\\n"] = filled(DType::u8, {3});
  out.metadata = {{"format", "pt"}, {"note", "a \"quote\"\n\u2603"}};
  write_safetensors(path(), out);
  const SafeTensors in = read_safetensors(path());
  EXPECT_EQ(in.metadata, out.metadata);
  ASSERT_EQ(in.tensors.size(), out.tensors.size());
  for (const auto& [name, tensor] : out.tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(in.tensors.count(name));
    EXPECT_TRUE(in.tensors.at(name).defined());
    expect_same(in.tensors.at(name), tensor);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}), 1);
}

TEST_F(SafeTensorsTest, NothingAtAll) {
  write_safetensors(path(), {});
  EXPECT_TRUE(read_safetensors(path()).tensors.empty());
  put(framed("{}"));
  EXPECT_TRUE(read_safetensors(path()).tensors.empty());
}

TEST_F(SafeTensorsTest, StridedTensorsBecomeDense) {
  const Tensor base = filled(DType::f32, {4, 6});
  SafeTensors out;
  out.tensors["t"] = base.transpose(0, 1);
  out.tensors["s"] = base.slice(1, 2, 3);
  out.tensors["b"] = base.slice(0, 1, 1).broadcast({5, 6});
  write_safetensors(path(), out);
  const SafeTensors in = read_safetensors(path());
  for (const auto& [name, tensor] : out.tensors) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(in.tensors.at(name).view().contiguous());
    expect_same(in.tensors.at(name), tensor);
  }
}

TEST_F(SafeTensorsTest, TensorsOutliveTheFileAndItsReplacement) {
  const Tensor first = filled(DType::f32, {2, 3});
  write_safetensors(path(), {{{"x", first}}, {}});
  const Tensor x = read_safetensors(path()).tensors.at("x");
  write_safetensors(path(), {{{"x", Tensor::zeros(DType::f32, {2, 3})}}, {}});
  expect_same(x, first);
  // A file may be rewritten from its own mapping.
  write_safetensors(path(), {{{"x", x}}, {}});
  fs::remove(path());
  expect_same(x, first);
}

TEST_F(SafeTensorsTest, UnalignedTensorsAreCopied) {
  std::string data(13, '\0');
  const float values[] = {1.5f, -2.0f, 3.25f};
  std::memcpy(data.data() + 1, values, 12);
  std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"F32","shape":[3],"data_offsets":[1,13]}})";
  for (int pad = 0; pad < 8; ++pad, header += ' ') {
    put(framed(header, data));
    const SafeTensors in = read_safetensors(path());
    const Tensor& x = in.tensors.at("x");
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.data<float>()) % 4, 0u);
    EXPECT_EQ(std::memcmp(x.data<float>(), values, 12), 0);
  }
}

TEST_F(SafeTensorsTest, EveryTruncationIsRefused) {
  SafeTensors out;
  out.tensors["x"] = filled(DType::f32, {3});
  out.tensors["y"] = filled(DType::u8, {5});
  out.metadata["k"] = "v";
  write_safetensors(path(), out);
  const std::string whole = get();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    SCOPED_TRACE(n);
    refused(whole.substr(0, n));
  }
  refused(whole + "x");
}

TEST_F(SafeTensorsTest, EveryFlippedByteIsReadOrRefused) {
  SafeTensors out;
  out.tensors["x"] = filled(DType::f32, {3});
  out.metadata["k"] = "v";
  write_safetensors(path(), out);
  const std::string whole = get();
  for (std::size_t n = 0; n < whole.size(); ++n) {
    for (int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[n] = char(bytes[n] ^ flip);
      put(bytes);
      try {
        read_safetensors(path());
      } catch (const Error&) {
      }
    }
  }
}

TEST_F(SafeTensorsTest, HeaderLength) {
  refused("");
  refused("1234567");
  refused(std::string("\x01\0\0\0\0\0\0\0", 8));
  refused(std::string(8, '\xff'));
  const std::uint64_t over = 100'000'001;
  EXPECT_NE(refused(std::string(reinterpret_cast<const char*>(&over), 8) + "{}").find("100 MB"), std::string::npos);
  refused(std::string(8, '\0'));
}

TEST_F(SafeTensorsTest, NotJson) {
  for (const char* header : {"[]", "1", "null", "\"x\"", "{", "{]", "{\"x\"}", "{}}", "{} x", " {}", "\xef\xbb\xbf{}", "{\"\xff\":1}",
                             "{'x':1}", "{\"__metadata__\":{\"a\":1e999}}"}) {
    refused_header(header);
  }
  refused_header(std::string("{}\0x", 4));
}

TEST_F(SafeTensorsTest, DeepJson) {
  refused_header(R"({"x":)" + std::string(9, '[') + std::string(9, ']') + "}");
  refused_header(R"({"x":)" + std::string(1'000'000, '['));
  std::string objects = "{\"x\":";
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_NE(refused_header(objects).find("deep"), std::string::npos);
}

TEST_F(SafeTensorsTest, NamesTwice) {
  const std::string x = R"("x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_NE(refused_header("{" + x + "," + x + "}", "a").find("twice"), std::string::npos);
  refused_header("{" + x + R"(,"\u0078":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "a");
  refused_header(R"({"x":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "a");
  refused_header(R"({"__metadata__":{"a":"1","a":"2"}})");
  refused_header(R"({"__metadata__":{},"__metadata__":{}})");
}

TEST_F(SafeTensorsTest, Entries) {
  for (const char* entry : {"1", "null", "[]", "\"F32\"", "{}", R"({"dtype":"U8","shape":[1]})", R"({"dtype":"U8","data_offsets":[0,1]})",
                            R"({"shape":[1],"data_offsets":[0,1]})"}) {
    EXPECT_NE(refused_header(std::string("{\"weights\":") + entry + "}", "a").find("weights"), std::string::npos);
  }
  for (const char* dtype : {"\"F64\"", "\"f32\"", "\"\"", "\"F8_E4M3\"", "1", "null", "[\"U8\"]"}) {
    refused_header(std::string("{\"x\":{\"dtype\":") + dtype + R"(,"shape":[1],"data_offsets":[0,8]}})", "12345678");
  }
  const std::string f64 = refused_header(R"({"x":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}})", "12345678");
  EXPECT_NE(f64.find("F64"), std::string::npos);
  EXPECT_NE(f64.find("tensor \"x\""), std::string::npos);
}

TEST_F(SafeTensorsTest, Shapes) {
  for (const char* shape : {"1",
                            "null",
                            "{}",
                            "\"1\"",
                            "[-1]",
                            "[1.0]",
                            "[1e0]",
                            "[\"1\"]",
                            "[null]",
                            "[true]",
                            "[[1]]",
                            "[9223372036854775807]",
                            "[9223372036854775808]",
                            "[18446744073709551615]",
                            "[18446744073709551616]",
                            "[4294967296,4294967296]",
                            "[4611686018427387904,4]",
                            "[0,4294967296,4294967296]",
                            "[1,1,1,1,1,1,1,1,1]",
                            "[3]",
                            "[]",
                            "[0]"}) {
    refused_header(std::string(R"({"x":{"dtype":"F32","shape":)") + shape + R"(,"data_offsets":[0,8]}})", "12345678");
  }
}

TEST_F(SafeTensorsTest, HugeShapeOfNoElements) {
  EXPECT_NE(refused_header(R"({"x":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}})").find("\"x\""),
            std::string::npos);
}

TEST_F(SafeTensorsTest, Offsets) {
  put(framed(f32_2, "12345678"));
  EXPECT_EQ(read_safetensors(path()).tensors.at("x").count(), 2);
  for (const char* offsets : {"0", "null", "{}", "[]", "[0]", "[0,8,8]", "[8,0]", "[-8,0]", "[0,-8]", "[0.0,8]", "[\"0\",\"8\"]", "[0,9]",
                              "[0,7]", "[1,9]", "[8,16]", "[18446744073709551608,18446744073709551615]", "[18446744073709551615,7]"}) {
    refused_header(std::string(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":)") + offsets + "}}", "12345678");
  }
  refused_header(f32_2, "123456789");
  refused_header(f32_2, "");
  refused_header("{}", "1");
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + a + R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}";
  };
  put(framed(two("[2,4]", "[0,2]"), "1234"));
  EXPECT_EQ(*read_safetensors(path()).tensors.at("a").data<char>(), '3');
  refused_header(two("[0,2]", "[0,2]"), "12");
  refused_header(two("[0,2]", "[0,2]"), "1234");
  refused_header(two("[0,2]", "[1,3]"), "123");
  refused_header(two("[0,2]", "[3,5]"), "12345");
  refused_header(two("[1,3]", "[3,5]"), "12345");
}

TEST_F(SafeTensorsTest, Metadata) {
  for (const char* metadata : {"1", "null", "[]", "\"a\"", "{\"a\":1}", "{\"a\":null}", "{\"a\":{}}", "{\"a\":[\"b\"]}"}) {
    refused_header(std::string("{\"__metadata__\":") + metadata + "}");
  }
}

TEST_F(SafeTensorsTest, MessagesStayShort) {
  const std::string message = refused_header("{\"x\\n" + std::string(100'000, 'y') + "\":1}");
  EXPECT_LT(message.size(), 1000u);
}

TEST_F(SafeTensorsTest, Files) {
  EXPECT_THROW(read_safetensors(path("missing")), Error);
  EXPECT_THROW(read_safetensors(folder_.string()), Error);
  EXPECT_THROW(map_file(folder_.string()), Error);
  EXPECT_THROW(map_file("/dev/null"), Error);
  EXPECT_THROW(map_file(std::string("a\0b", 3)), Error);
  put("");
  EXPECT_EQ(map_file(path())->size(), 0u);
  put("abc");
  const auto mapping = map_file(path());
  ASSERT_EQ(mapping->size(), 3u);
  EXPECT_EQ(std::memcmp(mapping->data(), "abc", 3), 0);
}

TEST_F(SafeTensorsTest, RefusedWritesLeaveNothing) {
  put("before");
  const auto count = [&] { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}); };
  const Tensor t = filled(DType::u8, {1});
  EXPECT_THROW(write_safetensors(path(), {{{"__metadata__", t}}, {}}), Error);
  EXPECT_THROW(write_safetensors(path(), {{{"x", Tensor()}}, {}}), Error);
  EXPECT_THROW(write_safetensors(path(), {{{"\xff", t}}, {}}), Error);
  EXPECT_THROW(write_safetensors(path(), {{{"x", t}}, {{"a", "\xff"}}}), Error);
  EXPECT_THROW(write_safetensors(path("no/such/folder"), {{{"x", t}}, {}}), Error);
  EXPECT_EQ(get(), "before");
  EXPECT_EQ(count(), 1);
  fs::create_directory(path("d"));
  EXPECT_THROW(write_safetensors(path("d"), {{{"x", t}}, {}}), Error);
  EXPECT_EQ(count(), 2);
}

}  // namespace
}  // namespace heed
