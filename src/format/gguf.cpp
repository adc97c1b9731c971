// SPDX-License-Identifier: Apache-2.0
#include "heed/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "format/mapping.h"

namespace heed {
inline namespace v0 {
namespace {

struct Block {
  std::uint64_t values, bytes;
};

Block block_of(std::uint32_t type) {
  switch (GgmlType(type)) {
    case GgmlType::F32:
      return {1, 4};
    case GgmlType::F16:
      return {1, 2};
    case GgmlType::BF16:
      return {1, 2};
    case GgmlType::Q4_0:
      return {32, 18};
    case GgmlType::Q4_1:
      return {32, 20};
    case GgmlType::Q5_0:
      return {32, 22};
    case GgmlType::Q5_1:
      return {32, 24};
    case GgmlType::Q8_0:
      return {32, 34};
    case GgmlType::Q4_K:
      return {256, 144};
    case GgmlType::Q5_K:
      return {256, 176};
    case GgmlType::Q6_K:
      return {256, 210};
  }
  return {0, 0};
}

/// Printable, short: names come from the file and messages are one line.
std::string shown(const std::string& name) {
  std::string out;
  for (const char c : name.substr(0, 80)) out += c >= 32 && c < 127 ? c : '?';
  return out;
}

class Reader {
 public:
  Reader(const std::string& path, const Mapping& file) : path_(path), where_(path), file_(file) {}
  std::size_t at() const { return at_; }
  std::uint64_t left() const { return file_.size() - at_; }
  void now(const std::string& what) { where_ = path_ + ": " + shown(what); }
  [[noreturn]] void bad(const std::string& expected, const std::string& came) const { fail(where_, expected, came); }

  template <class T>
  T get() {
    if (left() < sizeof(T)) bad(std::to_string(sizeof(T)) + " more bytes", "the end of the file");
    T value;
    std::memcpy(&value, file_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string text() {
    const auto length = get<std::uint64_t>();
    if (length > left()) bad("a string inside the file", "a length of " + std::to_string(length));
    std::string out(reinterpret_cast<const char*>(file_.data() + at_), std::size_t(length));
    at_ += std::size_t(length);
    return out;
  }
  std::uint64_t counted(std::uint64_t count, std::uint64_t smallest) const {
    if (count > left() / smallest) bad("a count that fits the file", std::to_string(count));
    return count;
  }
  bool boolean() {
    const auto b = get<std::uint8_t>();
    if (b > 1) bad("a bool of 0 or 1", std::to_string(b));
    return b == 1;
  }
  GgufValue value(std::uint32_t type) {
    switch (type) {
      case 0:
        return std::uint64_t(get<std::uint8_t>());
      case 1:
        return std::int64_t(get<std::int8_t>());
      case 2:
        return std::uint64_t(get<std::uint16_t>());
      case 3:
        return std::int64_t(get<std::int16_t>());
      case 4:
        return std::uint64_t(get<std::uint32_t>());
      case 5:
        return std::int64_t(get<std::int32_t>());
      case 6:
        return double(get<float>());
      case 7:
        return boolean();
      case 8:
        return text();
      case 9:
        return array();
      case 10:
        return get<std::uint64_t>();
      case 11:
        return get<std::int64_t>();
      case 12:
        return get<double>();
    }
    bad("a value type of 0 to 12", std::to_string(type));
  }

 private:
  template <class T>
  GgufValue many(std::uint32_t type, std::uint64_t count) {
    std::vector<T> out;
    out.reserve(std::size_t(count));
    for (std::uint64_t i = 0; i < count; ++i) out.push_back(std::get<T>(value(type)));
    return out;
  }
  GgufValue array() {
    static constexpr std::uint64_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
    const auto type = get<std::uint32_t>();
    if (type > 12 || type == 9) bad("an array of numbers, bools or strings", "element type " + std::to_string(type));
    const auto count = counted(get<std::uint64_t>(), sizes[type]);
    switch (type) {
      case 6:
      case 12:
        return many<double>(type, count);
      case 7:
        return many<bool>(type, count);
      case 8:
        return many<std::string>(type, count);
      case 1:
      case 3:
      case 5:
      case 11:
        return many<std::int64_t>(type, count);
      default:
        return many<std::uint64_t>(type, count);
    }
  }
  std::string path_, where_;
  const Mapping& file_;
  std::size_t at_ = 0;
};
}  // namespace

Gguf read_gguf(const std::string& path) {
  static_assert(std::endian::native == std::endian::little);
  const auto file = map_file(path);
  Reader in(path, *file);
  if (in.get<std::uint32_t>() != 0x46554747u) in.bad("the magic GGUF", "other bytes");
  const auto version = in.get<std::uint32_t>();
  if (version != 2 && version != 3) in.bad("version 2 or 3", std::to_string(version));
  const auto tensors = in.get<std::uint64_t>(), keys = in.get<std::uint64_t>();
  in.counted(tensors, 32);
  in.counted(keys, 13);
  Gguf out;
  for (std::uint64_t i = 0; i < keys; ++i) {
    in.now("key " + std::to_string(i));
    const std::string key = in.text();
    in.now("key " + key);
    const auto type = in.get<std::uint32_t>();
    if (!out.metadata.emplace(key, in.value(type)).second) in.bad("each key once", "it twice");
  }
  std::uint64_t alignment = 32;
  if (const auto found = out.metadata.find("general.alignment"); found != out.metadata.end()) {
    in.now("key general.alignment");
    const auto* given = std::get_if<std::uint64_t>(&found->second);
    if (!given || !std::has_single_bit(*given)) in.bad("a power of two", given ? std::to_string(*given) : "another type");
    alignment = *given;
  }
  struct Place {
    std::uint64_t begin, end;
    GgufTensor* tensor;
  };
  std::vector<Place> places;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    in.now("tensor " + std::to_string(i));
    const std::string name = in.text();
    in.now("tensor " + name);
    const auto rank = in.get<std::uint32_t>();
    if (rank < 1 || rank > 4) in.bad("a rank of 1 to 4", std::to_string(rank));
    std::vector<std::int64_t> extents;
    std::uint64_t count = 1;
    for (std::uint32_t d = 0; d < rank; ++d) {
      const auto extent = in.get<std::uint64_t>();
      if (extent > (std::uint64_t(1) << 62) || (extent && count > (std::uint64_t(1) << 56) / extent))
        in.bad("a shape whose product fits", "an extent of " + std::to_string(extent));
      count *= extent;
      extents.push_back(std::int64_t(extent));
    }
    const auto type = in.get<std::uint32_t>();
    const Block block = block_of(type);
    if (!block.values) in.bad("a ggml type that heed reads", "type " + std::to_string(type));
    if (std::uint64_t(extents[0]) % block.values)
      in.bad("rows of a multiple of " + std::to_string(block.values), std::to_string(extents[0]));
    std::reverse(extents.begin(), extents.end());
    const auto offset = in.get<std::uint64_t>();
    if (offset % alignment) in.bad("an offset that is a multiple of " + std::to_string(alignment), std::to_string(offset));
    const std::uint64_t bytes = count / block.values * block.bytes;
    const auto [where, fresh] = out.tensors.emplace(name, GgufTensor{name, GgmlType(type), Shape(extents), nullptr, std::size_t(bytes)});
    if (!fresh) in.bad("each tensor once", "it twice");
    places.push_back({offset, offset, &where->second});
  }
  const std::uint64_t pad = (alignment - in.at() % alignment) % alignment;
  const std::uint64_t room = pad > in.left() ? 0 : in.left() - pad;
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.begin < b.begin; });
  std::uint64_t end = 0;
  for (auto& place : places) {
    in.now("tensor " + place.tensor->name);
    const std::uint64_t bytes = place.tensor->bytes;
    if (place.begin > room || bytes > room - place.begin) in.bad("data inside the file", "offset " + std::to_string(place.begin));
    if (bytes && place.begin < end) in.bad("data of its own", "data that overlap another tensor's");
    if (bytes) end = place.begin + bytes;
    place.tensor->data = file->data() + in.at() + (pad > in.left() ? 0 : pad) + place.begin;
  }
  out.owner = file;
  return out;
}
}  // namespace v0
}  // namespace heed
