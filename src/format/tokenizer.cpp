// SPDX-License-Identifier: Apache-2.0
#include "heed/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <queue>
#include <unordered_map>
#include <utility>

#include "format/unicode.h"
#include "format/words.h"
#include "heed/error.h"

namespace heed {
inline namespace v0 {
namespace {

// ---- GPT-2's spelling of bytes: the printable ones as themselves, the others from U+0100 on.

struct ByteSpelling {
  std::array<char32_t, 256> code;
  std::array<std::string, 256> text;
  std::array<std::int16_t, 0x144> byte;  // by code, -1: none
};

const ByteSpelling& spelling() {
  static const ByteSpelling made = [] {
    ByteSpelling s;
    s.byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t code = itself ? static_cast<char32_t>(b) : next++;
      s.code[b] = code;
      s.byte[code] = static_cast<std::int16_t>(b);
      if (code < 0x80) {
        s.text[b] = static_cast<char>(code);
      } else {
        s.text[b] = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
    }
    return s;
  }();
  return made;
}

// The bytes that a token stands for; characters outside the spelling stand for themselves.
std::string bytes_of(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const unicode::Scanned c = unicode::scan(token, at);
    const bool spelt = c.valid && c.code < spelling().byte.size() && spelling().byte[c.code] >= 0;
    if (spelt) {
      bytes += static_cast<char>(spelling().byte[c.code]);
    } else {
      bytes += token.substr(at, c.length);
    }
    at += c.length;
  }
  return bytes;
}

}  // namespace

Vocabulary byte_vocabulary() {
  Vocabulary vocabulary;
  vocabulary.tokens.assign(spelling().text.begin(), spelling().text.end());
  vocabulary.special.assign(256, false);
  return vocabulary;
}

// ---- Merging

struct Tokenizer::Tables {
  struct Merge {
    int rank, result;
  };

  Vocabulary vocabulary;
  words::Pattern pattern;
  bool whole_words;  // a word that is a token is that token, whatever the merges say
  std::vector<std::string> bytes;
  std::array<int, 256> byte_id;
  std::unordered_map<std::string_view, int> whole;  // by bytes
  std::unordered_map<std::uint64_t, Merge> merges;  // by the pair of ids
  std::array<std::vector<int>, 256> specials;       // by first byte, the longest first

  static std::uint64_t pair(int left, int right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }

  explicit Tables(Vocabulary given) : vocabulary(std::move(given)) {
    const std::size_t count = vocabulary.tokens.size();
    if (count == 0) fail("vocabulary.tokens", "at least one token", "none");
    if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      fail("vocabulary.tokens", "fewer than 2^31 tokens", std::to_string(count));
    }
    if (!vocabulary.special.empty() && vocabulary.special.size() != count) {
      fail("vocabulary.special", "one flag a token (" + std::to_string(count) + ")", std::to_string(vocabulary.special.size()));
    }
    vocabulary.special.resize(count, false);
    const auto known = [&](const char* name, int id) {
      if (id < -1 || id >= static_cast<int>(count)) {
        fail(std::string("vocabulary.") + name, "-1 or an id below " + std::to_string(count), std::to_string(id));
      }
    };
    known("bos", vocabulary.bos);
    known("eos", vocabulary.eos);
    pattern = words::pattern_named(vocabulary.pre_tokeniser);
    whole_words = pattern == words::Pattern::llama3;

    std::unordered_map<std::string_view, int> ids;
    ids.reserve(count);
    bytes.reserve(count);
    for (std::size_t id = 0; id < count; ++id) {
      const std::string& token = vocabulary.tokens[id];
      ids.emplace(token, static_cast<int>(id));
      bytes.push_back(vocabulary.special[id] ? token : bytes_of(token));
      if (vocabulary.special[id] && !token.empty()) {
        specials[static_cast<unsigned char>(token[0])].push_back(static_cast<int>(id));
      }
    }
    if (whole_words) {
      for (std::size_t id = 0; id < count; ++id) {
        if (!vocabulary.special[id]) whole.emplace(bytes[id], static_cast<int>(id));
      }
    }
    for (auto& bucket : specials) {
      std::stable_sort(bucket.begin(), bucket.end(), [&](int a, int b) { return bytes[a].size() > bytes[b].size(); });
    }
    for (int b = 0; b < 256; ++b) {
      const auto found = ids.find(spelling().text[b]);
      byte_id[b] = found == ids.end() ? -1 : found->second;
    }

    merges.reserve(vocabulary.merges.size());
    for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
      const std::string& merge = vocabulary.merges[rank];
      const std::string where = "vocabulary.merges[" + std::to_string(rank) + "]";
      const std::size_t gap = merge.find(' ');
      if (gap == std::string::npos || gap == 0 || gap + 1 == merge.size()) {
        fail(where, "two tokens with a space between", "'" + merge + "'");
      }
      const auto id = [&](const std::string& token) {
        const auto found = ids.find(token);
        if (found == ids.end()) fail(where, "tokens of the vocabulary", "'" + token + "'");
        return found->second;
      };
      const std::string left = merge.substr(0, gap), right = merge.substr(gap + 1);
      merges.emplace(pair(id(left), id(right)), Merge{static_cast<int>(rank), id(left + right)});
    }
  }

  // Appends a word's ids: always the pair of the lowest rank first, the leftmost of equals.
  void word(std::string_view text, std::vector<int>& out) const {
    if (whole_words) {
      if (const auto found = whole.find(text); found != whole.end()) {
        out.push_back(found->second);
        return;
      }
    }
    struct Symbol {
      int id;
      std::ptrdiff_t before, after;
    };
    struct Candidate {
      int rank;
      std::ptrdiff_t left;
      int left_id, right_id, result;
      bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
    };
    // A byte without a token is left out, and its neighbours meet: as the reference does.
    std::vector<Symbol> symbols;
    symbols.reserve(text.size());
    for (const char c : text) {
      const int id = byte_id[static_cast<unsigned char>(c)];
      const std::ptrdiff_t here = static_cast<std::ptrdiff_t>(symbols.size());
      if (id >= 0) symbols.push_back({id, here - 1, here + 1});
    }
    if (symbols.empty()) return;
    symbols.back().after = -1;
    const std::ptrdiff_t count = static_cast<std::ptrdiff_t>(symbols.size());
    std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
    const auto offer = [&](std::ptrdiff_t left) {
      if (left < 0 || symbols[left].after < 0) return;
      const int a = symbols[left].id, b = symbols[symbols[left].after].id;
      if (const auto found = merges.find(pair(a, b)); found != merges.end()) {
        queue.push({found->second.rank, left, a, b, found->second.result});
      }
    };
    for (std::ptrdiff_t i = 0; i + 1 < count; ++i) offer(i);
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.left];
      if (left.id != best.left_id || left.after < 0 || symbols[left.after].id != best.right_id) continue;
      Symbol& right = symbols[left.after];
      left.id = best.result;
      right.id = -1;  // gone
      left.after = right.after;
      if (left.after >= 0) symbols[left.after].before = best.left;
      offer(left.before);
      offer(best.left);
    }
    for (std::ptrdiff_t i = 0; i >= 0; i = symbols[i].after) out.push_back(symbols[i].id);
  }

  // The special token that starts at byte `at`, or -1.
  int special_at(std::string_view text, std::size_t at) const {
    for (int id : specials[static_cast<unsigned char>(text[at])]) {
      if (text.substr(at).starts_with(bytes[id])) return id;
    }
    return -1;
  }
};

Tokenizer::Tokenizer(Vocabulary vocabulary) : tables_(std::make_shared<const Tables>(std::move(vocabulary))) {}

std::vector<int> Tokenizer::encode(std::string_view utf8, bool special) const {
  std::vector<int> out;
  // Words met before, as where their ids lie in `out`.
  std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> met;
  const auto plain = [&](std::string_view text) {
    if (text.empty()) return;
    for (std::string_view word : words::split(text, tables_->pattern)) {
      const auto [entry, fresh] = met.try_emplace(word, out.size(), 0);
      if (fresh) {
        tables_->word(word, out);
        entry->second.second = out.size() - entry->second.first;
      } else {
        const auto [first, count] = entry->second;
        for (std::size_t i = 0; i < count; ++i) out.push_back(out[first + i]);
      }
    }
  };
  std::size_t from = 0;
  if (special) {
    for (std::size_t at = 0; at < utf8.size();) {
      const int id = tables_->special_at(utf8, at);
      if (id < 0) {
        ++at;
        continue;
      }
      plain(utf8.substr(from, at - from));
      out.push_back(id);
      at += tables_->bytes[id].size();
      from = at;
    }
  }
  plain(utf8.substr(from));
  return out;
}

std::string Tokenizer::decode(std::span<const int> ids) const {
  std::string text;
  for (int id : ids) {
    if (id < 0 || id >= size()) fail("ids", "ids from 0 to " + std::to_string(size() - 1), std::to_string(id));
    text += tables_->bytes[id];
  }
  return text;
}

bool Tokenizer::covers(std::string_view text) const {
  return std::all_of(text.begin(), text.end(), [&](char c) { return tables_->byte_id[static_cast<unsigned char>(c)] >= 0; });
}

const Vocabulary& Tokenizer::vocabulary() const { return tables_->vocabulary; }
int Tokenizer::size() const { return static_cast<int>(tables_->vocabulary.tokens.size()); }

}  // namespace v0
}  // namespace heed
