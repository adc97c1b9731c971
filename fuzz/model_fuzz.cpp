// SPDX-License-Identifier: Apache-2.0
// Models in GGUF: whatever a file says, it is loaded, reads a text and writes two tokens, or is refused. Small ones only.
#include "fuzz.h"
#include "heed/gguf.h"
#include "heed/model.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::attempt([&] {
    const fuzz::File file(data, size);
    const heed::Model model = heed::Model::load(file.path(), 1);
    const auto& config = model.config();
    if (config.heads * config.head_width > 4096 || config.layers > 16) return;
    auto ids = model.tokenizer().encode("ab 12\n\xff<s>", true);
    ids.resize(std::min<std::size_t>(ids.size(), 6));
    heed::Context context;
    context.threads = 1;
    context.precision = data[size - 1] % 2 ? heed::Precision::fast : heed::Precision::strict;
    heed::Session session(model, 8, {}, context);
    fuzz::use(model.tokenizer().decode(heed::generate(session, ids, 2, {})).size());
  });
}
