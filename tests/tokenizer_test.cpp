// SPDX-License-Identifier: Apache-2.0
#include "heed/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "format/unicode.h"
#include "heed/error.h"

namespace {

struct Split {
  const char* pre_tokeniser;
  std::vector<std::string> words;  // joined: the text
};

// The words as Hugging Face's tokenizers 0.23.3 splits them.
const Split splits[] = {
    {"gpt2", {"Hello", " world"}},
    {"gpt2", {"don", "'t", " can", "'t", " I", "'d", "'ve", " we", "'ll"}},
    {"gpt2", {"I", "'", "M", " YOU", "'", "LL", " we", "'", "Ve", " '", "S"}},
    {"gpt2", {"'", "\xC5\xBFun"}},
    {"gpt2", {"x", "1234567", " \xC2\xB2\xE2\x85\xA7\xC2\xBD", " 12"}},
    {"gpt2", {"a", "\r\n\r", "\n", "b", " \r\n", " c", "\t\n"}},
    {"gpt2", {" ", " two", "  ", " x", "  "}},
    {"gpt2", {"a", " 1", " b", " ", " 2", " c", "   "}},
    {"gpt2", {"a", "\xC2\xA0", "b", "\xE3\x80\x80", " c", "\xE2\x80\xA8\xC2\x85"}},
    {"gpt2", {"\x1C\x1D", "a"}},
    {"gpt2", {"e", "\xCC\x81", " n", "\xCC\x83\xCC\x83", "o"}},
    {"gpt2", {"\xE6\xBC\xA2\xE5\xAD\x97\xE3\x81\x8B\xE3\x81\xAA", ",", "\xE6\xA8\x99\xE7\x82\xB9", "\xE3\x80\x82"}},
    {"gpt2", {"\xF0\x9F\x98\x80\xF0\x9F\x98\x80", " \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"}},
    {"gpt2", {"if", " (", "a", "<", "b", ")", " {", "\n", "\t", "return", " 1", ".", "5", ";", "\n", "}", "\n"}},
    {"gpt2", {"!!!", "\r\n\r", "\n", "?"}},
    {"gpt2", {"_", "a", "-", "b", " '", "x"}},
    {"smollm", {"Hello", " world"}},
    {"smollm", {"don", "'t", " can", "'t", " I", "'d", "'ve", " we", "'ll"}},
    {"smollm", {"I", "'", "M", " YOU", "'", "LL", " we", "'", "Ve", " '", "S"}},
    {"smollm", {"'", "\xC5\xBFun"}},
    {"smollm", {"x", "1", "2", "3", "4", "5", "6", "7", " ", "\xC2\xB2", "\xE2\x85\xA7", "\xC2\xBD", " ", "1", "2"}},
    {"smollm", {"a", "\r\n\r", "\n", "b", " \r\n", " c", "\t\n"}},
    {"smollm", {" ", " two", "  ", " x", "  "}},
    {"smollm", {"a", " ", "1", " b", "  ", "2", " c", "   "}},
    {"smollm", {"a", "\xC2\xA0", "b", "\xE3\x80\x80", " c", "\xE2\x80\xA8\xC2\x85"}},
    {"smollm", {"\x1C\x1D", "a"}},
    {"smollm", {"e", "\xCC\x81", " n", "\xCC\x83\xCC\x83", "o"}},
    {"smollm", {"\xE6\xBC\xA2\xE5\xAD\x97\xE3\x81\x8B\xE3\x81\xAA", ",", "\xE6\xA8\x99\xE7\x82\xB9", "\xE3\x80\x82"}},
    {"smollm", {"\xF0\x9F\x98\x80\xF0\x9F\x98\x80", " \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"}},
    {"smollm", {"if", " (", "a", "<", "b", ")", " {", "\n", "\t", "return", " ", "1", ".", "5", ";", "\n", "}", "\n"}},
    {"smollm", {"!!!", "\r\n\r", "\n", "?"}},
    {"smollm", {"_", "a", "-", "b", " '", "x"}},
    {"llama3", {"Hello", " world"}},
    {"llama3", {"don", "'t", " can", "'t", " I", "'d", "'ve", " we", "'ll"}},
    {"llama3", {"I", "'M", " YOU", "'LL", " we", "'Ve", " '", "S"}},
    {"llama3", {"'\xC5\xBF", "un"}},
    {"llama3", {"x", "123", "456", "7", " ", "\xC2\xB2\xE2\x85\xA7\xC2\xBD", " ", "12"}},
    {"llama3", {"a", "\r\n\r\n", "b", " \r\n", " c", "\t\n"}},
    {"llama3", {" ", " two", "  ", " x", "  "}},
    {"llama3", {"a", " ", "1", " b", " ", " ", "2", " c", "   "}},
    {"llama3",
     {"a",
      "\xC2\xA0"
      "b",
      "\xE3\x80\x80", " c", "\xE2\x80\xA8\xC2\x85"}},
    {"llama3", {"\x1C\x1D", "a"}},
    {"llama3", {"e", "\xCC\x81", " n", "\xCC\x83\xCC\x83", "o"}},
    {"llama3", {"\xE6\xBC\xA2\xE5\xAD\x97\xE3\x81\x8B\xE3\x81\xAA", ",\xE6\xA8\x99\xE7\x82\xB9", "\xE3\x80\x82"}},
    {"llama3", {"\xF0\x9F\x98\x80\xF0\x9F\x98\x80", " \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"}},
    {"llama3", {"if", " (", "a", "<b", ")", " {\n", "\treturn", " ", "1", ".", "5", ";\n", "}\n"}},
    {"llama3", {"!!!\r\n\r\n", "?"}},
    {"llama3", {"_a", "-b", " '", "x"}},
    {"qwen2", {"Hello", " world"}},
    {"qwen2", {"don", "'t", " can", "'t", " I", "'d", "'ve", " we", "'ll"}},
    {"qwen2", {"I", "'M", " YOU", "'LL", " we", "'Ve", " '", "S"}},
    {"qwen2", {"'\xC5\xBF", "un"}},
    {"qwen2", {"x", "1", "2", "3", "4", "5", "6", "7", " ", "\xC2\xB2", "\xE2\x85\xA7", "\xC2\xBD", " ", "1", "2"}},
    {"qwen2", {"a", "\r\n\r\n", "b", " \r\n", " c", "\t\n"}},
    {"qwen2", {" ", " two", "  ", " x", "  "}},
    {"qwen2", {"a", " ", "1", " b", " ", " ", "2", " c", "   "}},
    {"qwen2",
     {"a",
      "\xC2\xA0"
      "b",
      "\xE3\x80\x80", " c", "\xE2\x80\xA8\xC2\x85"}},
    {"qwen2", {"\x1C\x1D", "a"}},
    {"qwen2", {"e", "\xCC\x81", " n", "\xCC\x83\xCC\x83", "o"}},
    {"qwen2", {"\xE6\xBC\xA2\xE5\xAD\x97\xE3\x81\x8B\xE3\x81\xAA", ",\xE6\xA8\x99\xE7\x82\xB9", "\xE3\x80\x82"}},
    {"qwen2", {"\xF0\x9F\x98\x80\xF0\x9F\x98\x80", " \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7"}},
    {"qwen2", {"if", " (", "a", "<b", ")", " {\n", "\treturn", " ", "1", ".", "5", ";\n", "}\n"}},
    {"qwen2", {"!!!\r\n\r\n", "?"}},
    {"qwen2", {"_a", "-b", " '", "x"}},
};

std::string random_bytes(std::mt19937& random, std::size_t size) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random() & 0xFF);
  return text;
}

// Bytes, then "ab" 256, "abc" 257, "bc" 258, " a" 259, and two special tokens.
heed::Vocabulary small() {
  heed::Vocabulary v = heed::byte_vocabulary();
  for (const char* token : {"ab", "abc", "bc",
                            "\xC4\xA0"
                            "a",
                            "<|end|>", "<|end|>>"})
    v.tokens.push_back(token);
  v.merges = {"a b", "ab c", "b c", "\xC4\xA0 a"};
  v.special.assign(v.tokens.size(), false);
  v.special[260] = v.special[261] = true;
  return v;
}

std::string message(const heed::Vocabulary& v) {
  try {
    heed::Tokenizer made(v);
  } catch (const heed::Error& error) {
    return error.what();
  }
  return "";
}

TEST(Tokenizer, SplitsAsTheReference) {
  for (const Split& split : splits) {
    std::string text;
    for (const std::string& word : split.words) text += word;
    const auto got = heed::pre_tokenise(text, split.pre_tokeniser);
    EXPECT_EQ(std::vector<std::string>(got.begin(), got.end()), split.words) << split.pre_tokeniser << ": " << text;
  }
}

TEST(Tokenizer, LlamaHasTwoNames) {
  EXPECT_EQ(heed::pre_tokenise("I'M 1234\r\n x", "llama-bpe"), heed::pre_tokenise("I'M 1234\r\n x", "llama3"));
}

TEST(Tokenizer, MergesByRank) {
  const heed::Tokenizer t(small());
  EXPECT_EQ(t.encode("abc"), (std::vector<int>{257}));
  EXPECT_EQ(t.encode("bcab"), (std::vector<int>{258, 256}));
  EXPECT_EQ(t.encode("ab ab abc"), (std::vector<int>{256, 32, 256, 32, 257}));
  EXPECT_EQ(t.encode("x a"), (std::vector<int>{'x', 259}));
  EXPECT_EQ(t.encode(""), (std::vector<int>{}));
}

TEST(Tokenizer, WholeWordsBeforeMergesForLlama) {
  heed::Vocabulary v = small();
  v.tokens.push_back("xyz");  // no merge leads to it
  v.special.push_back(false);
  EXPECT_EQ(heed::Tokenizer(v).encode("xyz"), (std::vector<int>{'x', 'y', 'z'}));
  v.pre_tokeniser = "llama-bpe";
  EXPECT_EQ(heed::Tokenizer(v).encode("xyz"), (std::vector<int>{262}));
}

TEST(Tokenizer, SpecialTokensOnlyWhenAsked) {
  const heed::Tokenizer t(small());
  EXPECT_EQ(t.encode("ab<|end|>ab<|end|>>", true), (std::vector<int>{256, 260, 256, 261}));
  EXPECT_EQ(t.encode("<|end|>").size(), 7u);
  EXPECT_EQ(t.decode(std::vector<int>{256, 260, 261}), "ab<|end|><|end|>>");
}

TEST(Tokenizer, RoundTripOfAnyBytes) {
  std::mt19937 random(1);
  for (const char* name : {"gpt2", "smollm", "llama-bpe", "llama3", "qwen2"}) {
    heed::Vocabulary v = small();
    v.pre_tokeniser = name;
    const heed::Tokenizer t(v);
    for (int i = 0; i < 200; ++i) {
      const std::string text = random_bytes(random, random() % 400);
      EXPECT_EQ(t.decode(t.encode(text)), text);
      EXPECT_EQ(t.decode(t.encode(text, true)), text);
    }
  }
}

TEST(Tokenizer, InvalidUtf8IsByteByByte) {
  const std::string cut = "\xE6\xBC", overlong = "\xC0\xAF", surrogate = "\xED\xA0\x80", beyond = "\xF4\x90\x80\x80";
  for (const std::string& text : {cut, overlong, surrogate, beyond}) {
    const auto c = heed::unicode::scan(text, 0);
    EXPECT_FALSE(c.valid);
    EXPECT_EQ(c.length, 1);
  }
  const auto words = heed::pre_tokenise(
      "a\xFF\xFE"
      "b",
      "gpt2");
  EXPECT_EQ(words, (std::vector<std::string_view>{"a", "\xFF\xFE", "b"}));
}

TEST(Tokenizer, ByteVocabulary) {
  const heed::Tokenizer t(heed::byte_vocabulary());
  EXPECT_EQ(t.size(), 256);
  EXPECT_EQ(t.encode(std::string("\0 \xFF", 3)), (std::vector<int>{0, 32, 255}));
}

TEST(Tokenizer, AByteWithoutTokenIsLeftOut) {
  heed::Vocabulary v = small();
  v.tokens['x'] = "nothing";
  const heed::Tokenizer t(v);
  EXPECT_FALSE(t.covers("axb"));
  EXPECT_TRUE(t.covers("ab"));
  EXPECT_EQ(t.encode("axb"), (std::vector<int>{256}));
  EXPECT_EQ(t.encode("x"), (std::vector<int>{}));
}

TEST(Tokenizer, LongRunsAreNotQuadratic) {
  heed::Vocabulary v = heed::byte_vocabulary();
  v.tokens.push_back("aa");
  v.merges = {"a a"};
  v.special.clear();
  EXPECT_EQ(heed::Tokenizer(v).encode(std::string(1000000, 'a')).size(), 500000u);
}

TEST(Tokenizer, Errors) {
  heed::Vocabulary v = small();
  v.pre_tokeniser = "sentence";
  for (const char* name : {"gpt2", "smollm", "llama-bpe", "llama3", "qwen2", "'sentence'"}) {
    EXPECT_NE(message(v).find(name), std::string::npos) << message(v);
  }
  v = small();
  v.merges.push_back("ab nowhere");
  EXPECT_NE(message(v).find("merges[4]"), std::string::npos);
  v.merges.back() = "ab";
  EXPECT_NE(message(v).find("merges[4]"), std::string::npos);
  v = small();
  v.special.pop_back();
  EXPECT_NE(message(v).find("special"), std::string::npos);
  v = small();
  v.eos = 262;
  EXPECT_NE(message(v).find("eos"), std::string::npos);
  EXPECT_NE(message(heed::Vocabulary{}).find("tokens"), std::string::npos);

  const heed::Tokenizer t(small());
  EXPECT_THROW(t.decode(std::vector<int>{262}), heed::Error);
  EXPECT_THROW(t.decode(std::vector<int>{-1}), heed::Error);
  EXPECT_THROW(heed::pre_tokenise("x", ""), heed::Error);
}

}  // namespace
