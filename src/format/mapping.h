// SPDX-License-Identifier: Apache-2.0
// A file mapped into memory, read only.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

namespace heed {
inline namespace v0 {

class Mapping {
 public:
  Mapping(void* data, std::size_t size) : data_(data), size_(size) {}
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  /// nullptr where the file is empty.
  const std::byte* data() const { return static_cast<const std::byte*>(data_); }
  std::size_t size() const { return size_; }

 private:
  void* data_;
  std::size_t size_;
};

/// Throws Error for what is not a readable regular file.
std::shared_ptr<Mapping> map_file(const std::string& path);

/// `text` in double quotes on one line: control characters become '?', long texts are cut.
std::string in_quotes(const std::string& text);

}  // namespace v0
}  // namespace heed
