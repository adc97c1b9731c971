#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/format/unicode.cpp's tables from Python's unicodedata.

    python3 tools/make-unicode-tables.py > src/format/unicode.cpp
"""
import sys
import unicodedata

# The White_Space property: what \s means. (str.isspace() also says yes to U+001C..U+001F.)
SPACES = [(0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
          (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)]


def ranges(initial):
    found = []
    for code in range(0x110000):
        if unicodedata.category(chr(code))[0] == initial:
            if found and found[-1][1] == code - 1:
                found[-1][1] = code
            else:
                found.append([code, code])
    return found


def table(name, pairs):
    lines, line = [], ""
    for first, last in pairs:
        item = f"{{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) + 1 > 116:
            lines.append(line)
            line = ""
        line = f"{line} {item}" if line else f"    {item}"
    lines.append(line)
    return f"constexpr Range {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


sys.stdout.write(f"""// SPDX-License-Identifier: Apache-2.0
// Written by tools/make-unicode-tables.py from Unicode {unicodedata.unidata_version}: do not edit.
#include "format/unicode.h"

#include <algorithm>
#include <iterator>

namespace heed {{
inline namespace v0 {{
namespace unicode {{
namespace {{

struct Range {{
  char32_t first, last;
}};

// \\p{{L}}
{table("letters", ranges("L"))}
// \\p{{N}}
{table("numbers", ranges("N"))}
// \\s
{table("spaces", SPACES)}
template <std::size_t N>
bool among(const Range (&table)[N], char32_t code) {{
  const Range* after = std::upper_bound(std::begin(table), std::end(table), code,
                                        [](char32_t value, const Range& range) {{ return value < range.first; }});
  return after != std::begin(table) && code <= (after - 1)->last;
}}

}}  // namespace

Kind kind(char32_t code) {{
  if (code < 0x80) {{
    const char32_t lower = code | 0x20;
    if (lower >= 'a' && lower <= 'z') return Kind::letter;
    if (code >= '0' && code <= '9') return Kind::number;
    if (code == ' ' || (code >= 0x09 && code <= 0x0D)) return Kind::space;
    return Kind::other;
  }}
  if (among(letters, code)) return Kind::letter;
  if (among(numbers, code)) return Kind::number;
  if (among(spaces, code)) return Kind::space;
  return Kind::other;
}}

Scanned scan(std::string_view text, std::size_t at) {{
  const auto byte = [&](std::size_t i) {{ return static_cast<unsigned char>(text[i]); }};
  const unsigned lead = byte(at);
  if (lead < 0x80) return {{lead, 1, true}};
  const int length = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (length == 0 || text.size() - at < static_cast<std::size_t>(length)) return {{lead, 1, false}};
  char32_t code = lead & (0x7Fu >> length);
  for (int i = 1; i < length; ++i) {{
    if ((byte(at + i) & 0xC0) != 0x80) return {{lead, 1, false}};
    code = code << 6 | (byte(at + i) & 0x3F);
  }}
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (overlong || surrogate || code > 0x10FFFF) return {{lead, 1, false}};
  return {{code, length, true}};
}}

}}  // namespace unicode
}}  // namespace v0
}}  // namespace heed
""")
