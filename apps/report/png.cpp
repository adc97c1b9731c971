// SPDX-License-Identifier: Apache-2.0
// PNG (ISO/IEC 15948) with the stored blocks of deflate (RFC 1951) in a zlib stream (RFC 1950).
#include "png.h"

#include <algorithm>

namespace heed::app {
namespace {

std::string big_endian(std::uint32_t x) { return {char(x >> 24), char(x >> 16), char(x >> 8), char(x)}; }
std::string little_endian(std::size_t x) { return {char(x), char(x >> 8)}; }

std::uint32_t crc32(const std::string& bytes) {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= std::uint8_t(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

std::uint32_t adler32(const std::string& bytes) {
  std::uint32_t a = 1, b = 0;
  for (const char c : bytes) a = (a + std::uint8_t(c)) % 65521, b = (b + a) % 65521;
  return b << 16 | a;
}

std::string chunk(const std::string& type, const std::string& data) {
  return big_endian(std::uint32_t(data.size())) + type + data + big_endian(crc32(type + data));
}

std::string zlib_stored(const std::string& data) {
  constexpr std::size_t most = 65535;
  std::string out = "\x78\x01";
  for (std::size_t at = 0; at < data.size(); at += most) {
    const std::size_t n = std::min(most, data.size() - at);
    out += char(at + n == data.size());  // the last block is marked
    out += little_endian(n) + little_endian(~n) + data.substr(at, n);
  }
  return out + big_endian(adler32(data));
}

}  // namespace

std::string png(const std::vector<std::uint8_t>& indices, int width, int height, const Palette& palette) {
  std::string rows, colours;
  for (int y = 0; y < height; ++y) {
    rows += '\0';  // no filter
    rows.append(reinterpret_cast<const char*>(indices.data()) + std::size_t(y) * std::size_t(width), std::size_t(width));
  }
  for (const auto& colour : palette) colours.append(reinterpret_cast<const char*>(colour.data()), 3);
  const std::string header = big_endian(std::uint32_t(width)) + big_endian(std::uint32_t(height)) + std::string("\x08\x03\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + chunk("PLTE", colours) + chunk("tRNS", std::string(1, '\0')) +
         chunk("IDAT", zlib_stored(rows)) + chunk("IEND", "");
}

std::string base64(const std::string& bytes) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) { return i + k < bytes.size() ? std::uint32_t(std::uint8_t(bytes[i + k])) : 0; };
    const std::uint32_t word = byte(0) << 16 | byte(1) << 8 | byte(2);
    for (int k = 0; k < 4; ++k) out += i + std::size_t(k) > bytes.size() ? '=' : digits[word >> (18 - 6 * k) & 63];
  }
  return out;
}

}  // namespace heed::app
