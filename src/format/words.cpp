// SPDX-License-Identifier: Apache-2.0
#include "format/words.h"

#include <string>
#include <utility>

#include "format/unicode.h"
#include "heed/error.h"
#include "heed/tokenizer.h"

namespace heed {
inline namespace v0 {
namespace words {
namespace {

using unicode::Kind;

constexpr std::pair<std::string_view, Pattern> patterns[] = {
    {"gpt2", Pattern::gpt2},     {"smollm", Pattern::smollm}, {"llama-bpe", Pattern::llama3},
    {"llama3", Pattern::llama3}, {"qwen2", Pattern::qwen2},
};

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

Pattern pattern_named(std::string_view name) {
  for (const auto& [known, pattern] : patterns) {
    if (known == name) return pattern;
  }
  std::string known;
  for (const auto& [each, pattern] : patterns) known += (known.empty() ? "" : ", ") + std::string(each);
  fail("pre_tokeniser", "one of " + known, "'" + std::string(name) + "'");
}

std::vector<std::string_view> split(std::string_view text, Pattern pattern) { return Scanner(text).split(pattern); }

}  // namespace words

std::vector<std::string_view> pre_tokenise(std::string_view utf8, std::string_view pre_tokeniser) {
  return words::split(utf8, words::pattern_named(pre_tokeniser));
}

}  // namespace v0
}  // namespace heed
