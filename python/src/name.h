// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace heed::python {

/// An argument's name, "tensors", or that of an item of its list, "tensors[2]". The text is made when a message needs it: a
/// call that goes well pays nothing. Lives no longer than what it names.
class Name {
 public:
  Name(const std::string& text) : text_(text) {}
  Name(const char* text) : text_(text) {}
  Name(const Name& list, std::size_t item) : list_(&list), item_(item) {}

  operator std::string() const { return list_ ? std::string(*list_) + "[" + std::to_string(item_) + "]" : std::string(text_); }

 private:
  std::string_view text_;
  const Name* list_ = nullptr;
  std::size_t item_ = 0;
};

}  // namespace heed::python
