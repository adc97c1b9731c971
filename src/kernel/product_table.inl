// SPDX-License-Identifier: Apache-2.0
constexpr Loops make_loops() {
  return {multiply,
          turned,
          nullptr,
          {nullptr, expand<Layout::f16>, expand<Layout::bf16>, expand<Layout::q4>, expand<Layout::q4_min>, expand<Layout::q4_wide>,
           expand<Layout::q8>, expand<Layout::q8_min>, expand<Layout::q8_wide>, expand<Layout::q8_half>},
          {nullptr, thin<Layout::f16>, thin<Layout::bf16>, thin<Layout::q4>, thin<Layout::q4_min>, thin<Layout::q4_wide>, thin<Layout::q8>,
           thin<Layout::q8_min>, thin<Layout::q8_wide>, thin<Layout::q8_half>},
          {nullptr, nullptr, nullptr, dots<Layout::q4>, dots<Layout::q4_min>, dots<Layout::q4_wide>, dots<Layout::q8>, dots<Layout::q8_min>,
           dots<Layout::q8_wide>, dots<Layout::q8_half>},
          quantise,
          nullptr,
          pack};
}
