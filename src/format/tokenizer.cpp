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
#include "heed/error.h"

namespace heed {
inline namespace v0 {
namespace {

using unicode::Kind;

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

// ---- Pre-tokenisers

enum class Pattern { gpt2, smollm, llama3, qwen2 };

constexpr std::pair<std::string_view, Pattern> patterns[] = {
    {"gpt2", Pattern::gpt2},     {"smollm", Pattern::smollm}, {"llama-bpe", Pattern::llama3},
    {"llama3", Pattern::llama3}, {"qwen2", Pattern::qwen2},
};

Pattern pattern_named(std::string_view name) {
  for (const auto& [known, pattern] : patterns) {
    if (known == name) return pattern;
  }
  std::string known;
  for (const auto& [each, pattern] : patterns) known += (known.empty() ? "" : ", ") + std::string(each);
  fail("pre_tokeniser", "one of " + known, "'" + std::string(name) + "'");
}

// A window of the text, a character at a time.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {
    chars_.reserve(text.size() + 1);
    for (std::size_t at = 0; at < text.size();) {
      const unicode::Scanned c = unicode::scan(text, at);
      chars_.push_back({at, c.valid ? c.code : invalid, c.valid ? unicode::kind(c.code) : Kind::other});
      at += c.length;
    }
    end_ = chars_.size();
    chars_.push_back({text.size(), invalid, Kind::other});
  }

  std::vector<std::string_view> split(Pattern pattern) {
    const std::size_t all = end_;
    for (std::size_t at = 0; at < all;) {
      std::size_t stop = all;
      if (pattern == Pattern::smollm) {
        // Each number stands alone; what is between two is a text of its own.
        if (is(at, Kind::number)) {
          take(at, at + 1);
          ++at;
          continue;
        }
        stop = at;
        while (stop < all && chars_[stop].kind != Kind::number) ++stop;
      }
      end_ = stop;
      while (at < stop) {
        const bool plain = pattern == Pattern::gpt2 || pattern == Pattern::smollm;
        const std::size_t next = plain ? gpt2(at) : llama3(at, pattern == Pattern::qwen2 ? 1 : 3);
        take(at, next);
        at = next;
      }
      end_ = all;
    }
    return std::move(words_);
  }

 private:
  static constexpr char32_t invalid = 0xFFFFFFFF;
  struct Char {
    std::size_t at;
    char32_t code;
    Kind kind;
  };

  void take(std::size_t first, std::size_t last) { words_.push_back(text_.substr(chars_[first].at, chars_[last].at - chars_[first].at)); }
  bool is(std::size_t i, Kind kind) const { return i < end_ && chars_[i].kind == kind; }
  bool is_code(std::size_t i, char32_t code) const { return i < end_ && chars_[i].code == code; }
  bool is_break(std::size_t i) const { return is_code(i, '\r') || is_code(i, '\n'); }
  std::size_t run(std::size_t i, Kind kind) const {
    while (is(i, kind)) ++i;
    return i;
  }

  // 's|'t|'re|'ve|'m|'ll|'d at i: its end, or i.
  std::size_t contraction(std::size_t i, bool any_case) const {
    if (!is_code(i, '\'')) return i;
    const auto letter = [&](std::size_t at) -> char32_t {
      if (at >= end_) return 0;
      const char32_t code = chars_[at].code;
      if (!any_case) return code;
      if (code == 0x17F) return 's';  // the long s folds to s
      return code >= 'A' && code <= 'Z' ? code + 32 : code;
    };
    const char32_t first = letter(i + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return i + 2;
    const char32_t second = letter(i + 2);
    if ((first == 'r' || first == 'v') && second == 'e') return i + 3;
    if (first == 'l' && second == 'l') return i + 3;
    return i;
  }

  // \s+(?!\S)|\s+
  std::size_t spaces(std::size_t i) const {
    const std::size_t last = run(i, Kind::space);
    return last == end_ || last - i == 1 ? last : last - 1;
  }

  std::size_t gpt2(std::size_t i) const {
    if (const std::size_t end = contraction(i, false); end > i) return end;
    const std::size_t body = is_code(i, ' ') ? i + 1 : i;
    for (Kind kind : {Kind::letter, Kind::number, Kind::other}) {
      if (is(body, kind)) return run(body, kind);
    }
    return spaces(i);
  }

  std::size_t llama3(std::size_t i, std::size_t digits) const {
    if (const std::size_t end = contraction(i, true); end > i) return end;
    if (is(i, Kind::letter)) return run(i, Kind::letter);
    if (!is_break(i) && !is(i, Kind::number) && is(i + 1, Kind::letter)) return run(i + 1, Kind::letter);
    if (is(i, Kind::number)) return std::min(run(i, Kind::number), i + digits);
    const std::size_t body = is_code(i, ' ') ? i + 1 : i;
    if (is(body, Kind::other)) {
      std::size_t end = run(body, Kind::other);
      while (is_break(end)) ++end;
      return end;
    }
    std::size_t end = run(i, Kind::space);
    while (end > i && !is_break(end - 1)) --end;
    return end > i ? end : spaces(i);
  }

  std::string_view text_;
  std::vector<Char> chars_;
  std::size_t end_ = 0;
  std::vector<std::string_view> words_;
};

}  // namespace

std::vector<std::string_view> pre_tokenise(std::string_view utf8, std::string_view pre_tokeniser) {
  const Pattern pattern = pattern_named(pre_tokeniser);
  return Scanner(utf8).split(pattern);
}

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
  Pattern pattern;
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
    pattern = pattern_named(vocabulary.pre_tokeniser);
    whole_words = pattern == Pattern::llama3;

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
    for (std::string_view word : Scanner(text).split(tables_->pattern)) {
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
