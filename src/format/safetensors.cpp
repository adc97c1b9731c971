// SPDX-License-Identifier: Apache-2.0
#include "heed/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "format/mapping.h"

namespace heed {
inline namespace v0 {
namespace {

using nlohmann::json;

constexpr std::uint64_t longest_header = 100'000'000;
constexpr int deepest = 8;
const char* const metadata_name = "__metadata__";

struct Known {
  const char* name;
  DType dtype;
};
constexpr Known known[] = {{"F32", DType::f32}, {"BF16", DType::bf16}, {"F16", DType::f16},     {"I64", DType::i64},
                           {"I32", DType::i32}, {"U8", DType::u8},     {"BOOL", DType::boolean}};

const char* format_name(DType dtype) {
  for (const Known& k : known) {
    if (k.dtype == dtype) return k.name;
  }
  fail("dtype", "one that safetensors knows", "number " + std::to_string(int(dtype)));
}

std::string reason(int error) { return std::generic_category().message(error); }

/// A short description of a JSON value for messages: never long, never more than one line.
std::string described(const json& value) {
  if (value.is_string()) return in_quotes(value.get_ref<const std::string&>());
  if (value.is_number() || value.is_boolean() || value.is_null()) return value.dump();
  return std::string("an ") + value.type_name() + " of " + std::to_string(value.size());
}

/// The header as JSON: no names twice, not deep.
json parse_header(const char* begin, const char* end, const std::string& file) {
  const std::string argument = file + ": header";
  if (begin == end || *begin != '{') fail(argument, "a JSON object that starts with '{'", begin == end ? "nothing" : "something else");
  // The parser would take a NUL for the end and let anything follow it.
  if (std::memchr(begin, 0, std::size_t(end - begin)) != nullptr) fail(argument, "JSON", "a NUL character");
  std::vector<std::set<std::string>> names;
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        names.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        if (depth >= deepest) fail(argument, "JSON at most " + std::to_string(deepest) + " deep", "a deeper one");
        break;
      case json::parse_event_t::key: {
        const auto& name = parsed.get_ref<const std::string&>();
        if (!names.back().insert(name).second) fail(argument, "every name once", in_quotes(name) + " twice");
        break;
      }
      case json::parse_event_t::object_end:
        names.pop_back();
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return json::parse(begin, end, watch);
  } catch (const json::parse_error& e) {
    fail(argument, "JSON", "an error at byte " + std::to_string(e.byte));
  } catch (const json::exception&) {
    fail(argument, "JSON", "a number out of range");
  }
}

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0, end = 0;
};

const json& member(const json& object, const char* key, const std::string& argument) {
  const auto found = object.find(key);
  if (found == object.end()) fail(argument, std::string("a member \"") + key + "\"", "none");
  return *found;
}

DType read_dtype(const json& value, const std::string& argument) {
  if (value.is_string()) {
    const auto& name = value.get_ref<const std::string&>();
    for (const Known& k : known) {
      if (name == k.name) return k.dtype;
    }
  }
  fail(argument + ": dtype", "F32, BF16, F16, I64, I32, U8 or BOOL", described(value));
}

Shape read_shape(const json& value, std::size_t element, std::uint64_t& bytes, const std::string& argument) {
  const std::string where = argument + ": shape";
  if (!value.is_array()) fail(where, "an array", described(value));
  if (value.size() > std::size_t(max_rank)) fail(where, "at most 8 axes", std::to_string(value.size()));
  std::vector<std::int64_t> extents;
  // Extents of 0 do not excuse others from fitting: strides are products too.
  std::int64_t product = std::int64_t(element);
  bool empty = false;
  for (const json& extent : value) {
    if (!extent.is_number_unsigned()) fail(where, "non-negative integers", described(extent));
    const auto n = extent.get<std::uint64_t>();
    if (n > std::uint64_t(std::numeric_limits<std::int64_t>::max())) fail(where, "extents below 2^63", described(extent));
    extents.push_back(std::int64_t(n));
    if (n == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, std::int64_t(n), &product)) {
      fail(where, "fewer than 2^63 bytes", value.dump());
    }
  }
  bytes = empty ? 0 : std::uint64_t(product);
  try {
    return Shape(extents);
  } catch (const Error& e) {
    fail(where, "a shape that fits", e.what());
  }
}

Entry read_entry(const std::string& name, const json& value, std::uint64_t data_size, const std::string& file) {
  const std::string argument = file + ": tensor " + in_quotes(name);
  if (!value.is_object()) fail(argument, "an object", described(value));
  Entry entry;
  entry.name = name;
  entry.dtype = read_dtype(member(value, "dtype", argument), argument);
  std::uint64_t bytes = 0;
  entry.shape = read_shape(member(value, "shape", argument), size_of(entry.dtype), bytes, argument);
  const json& offsets = member(value, "data_offsets", argument);
  const std::string where = argument + ": data_offsets";
  if (!offsets.is_array() || offsets.size() != 2) fail(where, "an array of 2", described(offsets));
  if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    fail(where, "non-negative integers", described(offsets[0]) + " and " + described(offsets[1]));
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end) fail(where, "begin <= end", offsets.dump());
  if (entry.end > data_size) fail(where, "an end within the " + std::to_string(data_size) + " bytes of data", offsets.dump());
  if (entry.end - entry.begin != bytes) {
    fail(where, std::to_string(bytes) + " bytes, as dtype and shape say", std::to_string(entry.end - entry.begin));
  }
  return entry;
}

/// A file being written beside its final place; removed unless it was moved there.
class Pending {
 public:
  explicit Pending(const std::string& path) : path_(path) {
    if (path.find('\0') != std::string::npos) fail("file " + in_quotes(path), "a path without NUL characters", "one with");
    struct stat there {};
    if (::stat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode))  // a rename would replace a device by a file
      fail("file " + in_quotes(path), "a regular file or none yet", S_ISDIR(there.st_mode) ? "a directory" : "a device, pipe or socket");
    static std::atomic<unsigned> counter{0};
    for (int tries = 0; fd_ < 0; ++tries) {
      temporary_ = path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
      fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && (errno != EEXIST || tries == 100)) fail("file " + in_quotes(path), "a folder that can be written to", reason(errno));
    }
  }
  ~Pending() {
    if (fd_ >= 0) ::close(fd_);
    if (!moved_) ::unlink(temporary_.c_str());
  }
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  void write(const void* data, std::size_t size) {
    auto at = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = ::write(fd_, at, std::min(size, std::size_t(1) << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) failed(n < 0 ? errno : EIO);
      at += n;
      size -= std::size_t(n);
    }
  }
  void commit() {
    if (::fsync(fd_) != 0) failed(errno);
    const int closed = ::close(std::exchange(fd_, -1));
    if (closed != 0) failed(errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) failed(errno);
    moved_ = true;
  }

 private:
  [[noreturn]] void failed(int error) { fail("file " + in_quotes(path_), "a file that can be written", reason(error)); }

  std::string path_, temporary_;
  int fd_ = -1;
  bool moved_ = false;
};

}  // namespace

SafeTensors read_safetensors(const std::string& path) {
  const std::shared_ptr<Mapping> mapping = map_file(path);
  const std::string file = "file " + in_quotes(path);
  if (mapping->size() < 8) fail(file, "at least 8 bytes", std::to_string(mapping->size()));
  std::uint64_t length = 0;
  std::memcpy(&length, mapping->data(), 8);
  if (length > longest_header) fail(file + ": header length", "at most 100 MB", std::to_string(length));
  if (length > mapping->size() - 8) {
    fail(file + ": header length", "at most the " + std::to_string(mapping->size() - 8) + " bytes that follow", std::to_string(length));
  }
  const std::byte* const data = mapping->data() + 8 + length;
  const std::uint64_t data_size = mapping->size() - 8 - length;
  const auto* const text = reinterpret_cast<const char*>(mapping->data() + 8);
  const json header = parse_header(text, text + length, file);

  SafeTensors content;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != metadata_name) {
      entries.push_back(read_entry(name, value, data_size, file));
      continue;
    }
    if (!value.is_object()) fail(file + ": " + metadata_name, "an object of text", described(value));
    for (const auto& [key, item] : value.items()) {
      if (!item.is_string()) fail(file + ": " + metadata_name + ": " + in_quotes(key), "text", described(item));
      content.metadata.emplace(key, item.get_ref<const std::string&>());
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t reached = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != reached) {
      fail(file + ": tensor " + in_quotes(entry.name) + ": data_offsets",
           "a begin of " + std::to_string(reached) + ", where the tensor before it ends (no overlaps, no holes)",
           std::to_string(entry.begin));
    }
    reached = entry.end;
  }
  if (reached != data_size) {
    fail(file + ": data", "the " + std::to_string(reached) + " bytes that its tensors take", std::to_string(data_size));
  }
  for (const Entry& entry : entries) {
    void* const at = const_cast<std::byte*>(data + entry.begin);
    if (reinterpret_cast<std::uintptr_t>(at) % size_of(entry.dtype) == 0) {
      content.tensors.emplace(entry.name, Tensor(dense_view(at, entry.dtype, entry.shape), mapping));
    } else {
      Tensor copy(entry.dtype, entry.shape);
      if (entry.end > entry.begin) std::memcpy(copy.data<void>(), at, std::size_t(entry.end - entry.begin));
      content.tensors.emplace(entry.name, std::move(copy));
    }
  }
  return content;
}

void write_safetensors(const std::string& path, const SafeTensors& content) {
  const std::string file = "file " + in_quotes(path);
  // Wide elements first, as the reference implementation does: every tensor then lies aligned.
  std::vector<std::pair<const std::string*, const Tensor*>> order;
  for (const auto& [name, tensor] : content.tensors) {
    if (name == metadata_name) fail(file + ": tensor " + in_quotes(name), "another name", "the one reserved for metadata");
    if (!tensor.defined()) fail(file + ": tensor " + in_quotes(name), "a tensor with storage", "an undefined one");
    order.emplace_back(&name, &tensor);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return size_of(a.second->dtype()) > size_of(b.second->dtype()); });
  std::string text;
  {
    // Built by hand: members in the order of their offsets.
    const auto dumped = [&](const auto& value, const std::string& argument) {
      try {
        return json(value).dump();
      } catch (const json::exception&) {
        fail(argument, "UTF-8 text", "other bytes");
      }
    };
    text = "{";
    if (!content.metadata.empty()) text += json(metadata_name).dump() + ":" + dumped(content.metadata, file + ": " + metadata_name);
    std::uint64_t offset = 0;
    for (const auto& [name, tensor] : order) {
      const std::uint64_t end = offset + std::uint64_t(tensor->count()) * size_of(tensor->dtype());
      if (text.size() > 1) text += ",";
      text += dumped(*name, file + ": tensor " + in_quotes(*name)) + ":{\"dtype\":\"" + format_name(tensor->dtype()) +
              "\",\"shape\":" + json(tensor->shape().vector()).dump() + ",\"data_offsets\":[" + std::to_string(offset) + "," +
              std::to_string(end) + "]}";
      offset = end;
    }
    text += "}";
  }
  while ((8 + text.size()) % 64 != 0) text += ' ';
  const std::uint64_t length = text.size();
  if (length > longest_header) fail(file + ": header length", "at most 100 MB", std::to_string(length));

  Pending pending(path);
  pending.write(&length, 8);
  pending.write(text.data(), text.size());
  for (const auto& [name, tensor] : order) {
    const Tensor dense = tensor->dense();
    pending.write(dense.data<void>(), std::size_t(dense.count()) * size_of(dense.dtype()));
  }
  pending.commit();
}

}  // namespace v0
}  // namespace heed
