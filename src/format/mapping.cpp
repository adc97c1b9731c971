// SPDX-License-Identifier: Apache-2.0
#include "format/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "heed/error.h"

namespace heed {
inline namespace v0 {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string reason(int error) { return std::generic_category().message(error); }

}  // namespace

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

std::string in_quotes(const std::string& text) {
  constexpr std::size_t longest = 200;
  std::string line = "\"" + text.substr(0, longest);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return line + (text.size() > longest ? "...\"" : "\"");
}

std::shared_ptr<Mapping> map_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) fail("file " + in_quotes(path), "a path without NUL characters", "one with");
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail("file " + in_quotes(path), "a readable file", reason(errno));
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail("file " + in_quotes(path), "a readable file", reason(errno));
  if (S_ISDIR(status.st_mode)) fail("file " + in_quotes(path), "a regular file", "a directory");
  if (!S_ISREG(status.st_mode)) fail("file " + in_quotes(path), "a regular file", "something else (a device, pipe or socket)");
  const auto size = std::size_t(status.st_size);
  if (size == 0) return std::make_shared<Mapping>(nullptr, 0);
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail("file " + in_quotes(path), "a file that can be mapped", reason(errno));
  try {
    return std::make_shared<Mapping>(data, size);
  } catch (...) {
    ::munmap(data, size);
    throw;
  }
}

}  // namespace v0
}  // namespace heed
