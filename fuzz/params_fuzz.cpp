// SPDX-License-Identifier: Apache-2.0
// Parameters as JSON into every mechanism's declaration; the first byte chooses the mechanism. The weights' shapes are evaluated too.
#include "fuzz.h"
#include "heed/catalogue.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto mechanisms = heed::list_mechanisms();
  if (size == 0) return 0;
  return fuzz::attempt([&] {
    const std::string params(reinterpret_cast<const char*>(data) + 1, size - 1);
    heed::check_params(mechanisms[data[0] % mechanisms.size()].slug, params);
  });
}
