// SPDX-License-Identifier: Apache-2.0
// A Hugging Face model's JSON: the first byte says whether config.json or tokenizer.json follows.
#include "fuzz.h"
#include "model/config.h"
#include "model/vocabulary.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  return fuzz::attempt([&] {
    const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
    heed::model::Config config;
    config.vocabulary = 300;
    if (data[0] % 2 == 0) {
      config = heed::model::read_config(text, "config.json");
      if (config.head_width <= 4096) fuzz::use(heed::model::frequencies(config, 64).size());
    } else {
      const heed::Tokenizer tokenizer(heed::model::read_vocabulary(text, "tokenizer.json", config));
      fuzz::use(tokenizer.decode(tokenizer.encode("ab 12\n\xff<s>", true)).size());
    }
  });
}
