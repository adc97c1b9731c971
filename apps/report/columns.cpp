// SPDX-License-Identifier: Apache-2.0
#include "columns.h"

#include <fmt/core.h>

namespace heed::app {
namespace {

double number(const Json& row, const char* name) { return row.at(name).get<double>(); }
/// What exact attention compared with itself would say is not shown.
bool reference(const Json& row) { return number(row, "kld_max") == 0; }
std::string divergence(double nats) {
  return nats < 0.01 ? fmt::format("{:.1e}", nats) : nats < 10 ? fmt::format("{:.3f}", nats) : fmt::format("{:.1f}", nats);
}

}  // namespace

const std::vector<Column>& columns() {
  static const std::vector<Column> all{
      {"way", "what stands in for the attention of every layer", [](const Json& r) { return r.at("way").get<std::string>(); }},
      {"read s", "seconds from the tokens to the logits of the last one",
       [](const Json& r) { return fmt::format("{:.2f}", number(r, "read_seconds")); }},
      {"read tok/s", "tokens read a second", [](const Json& r) { return fmt::format("{:.0f}", number(r, "read_tokens_per_second")); }},
      {"write tok/s", "tokens written a second after reading: 64 at a time, the median of three",
       [](const Json& r) { return fmt::format("{:.1f}", number(r, "write_tokens_per_second")); }},
      {"KV MiB", "keys and values held after reading",
       [](const Json& r) { return fmt::format("{:.1f}", number(r, "kv_bytes") / 1048576); }},
      {"bits/byte", "bits that predicting a byte of the text takes",
       [](const Json& r) { return fmt::format("{:.4f}", number(r, "bits_per_byte")); }},
      {"± ", "standard error of bits per byte, from the means of 32 blocks of neighbouring tokens",
       [](const Json& r) { return fmt::format("{:.4f}", number(r, "bits_per_byte_error")); }},
      {"× exact", "ratio of bits per byte to exact attention's",
       [](const Json& r) { return reference(r) ? std::string("1") : fmt::format("{:.4f}", number(r, "bits_per_byte_ratio")); }},
      {"±", "standard error of that ratio, paired token by token",
       [](const Json& r) { return reference(r) ? std::string("–") : fmt::format("{:.4f}", number(r, "bits_per_byte_ratio_error")); }},
      {"KLD", "mean KL(exact ‖ way) of the predictions, nats",
       [](const Json& r) { return reference(r) ? std::string("–") : divergence(number(r, "kld_mean")); }},
      {"99.9%", "the divergence that one token in a thousand exceeds",
       [](const Json& r) { return reference(r) ? std::string("–") : divergence(r.at("kld_percentiles").at("99.9").get<double>()); }},
      {"max", "the largest divergence", [](const Json& r) { return reference(r) ? std::string("–") : divergence(number(r, "kld_max")); }},
      {"RMS Δp", "root of the mean square change of the true token's probability, per cent",
       [](const Json& r) { return reference(r) ? std::string("–") : fmt::format("{:.2f}%", 100 * number(r, "rms_delta_p")); }},
      {"same top", "how often the likeliest token is exact attention's",
       [](const Json& r) { return reference(r) ? std::string("–") : fmt::format("{:.1f}%", 100 * number(r, "same_top")); }},
      {"parameters", "as given; the rest are the mechanism's defaults", [](const Json& r) { return r.at("given").get<std::string>(); }},
  };
  return all;
}

}  // namespace heed::app
