// SPDX-License-Identifier: Apache-2.0
#include "isa/cpu.h"

#include <array>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace heed::isa {

#if defined(__x86_64__)
namespace {

struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;  // all zero where the CPU has no such leaf
};

Leaf leaf(unsigned number, unsigned sub = 0) {
  Leaf l;
  __get_cpuid_count(number, sub, &l.a, &l.b, &l.c, &l.d);
  return l;
}

bool bit(unsigned word, int n) { return (word >> n & 1u) != 0; }

std::uint64_t xcr0() {
  std::uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

std::string brand() {
  if (leaf(0x80000000u).a < 0x80000004u) return "unknown";
  std::array<char, 49> text{};
  for (unsigned i = 0; i < 3; ++i) {
    const Leaf l = leaf(0x80000002u + i);
    std::memcpy(text.data() + 16 * i, &l, 16);
  }
  std::string s = text.data();
  const auto first = s.find_first_not_of(' ');
  return first == std::string::npos ? "unknown" : s.substr(first, s.find_last_not_of(' ') - first + 1);
}

Cpu ask() {
  Cpu c;
  c.brand = brand();
  const Leaf one = leaf(1), seven = leaf(7);
  const unsigned seven_one = seven.a >= 1 ? leaf(7, 1).a : 0;
  const std::uint64_t enabled = bit(one.c, 27) ? xcr0() : 0;  // OSXSAVE
  const auto has = [&](std::uint64_t mask) { return (enabled & mask) == mask; };
  const bool ymm = has(0x6), zmm = has(0xe6), tiles = has(0x60000);
  c.fma = ymm && bit(one.c, 12);
  c.f16c = ymm && bit(one.c, 29);
  c.avx2 = ymm && bit(one.c, 28) && bit(seven.b, 5);
  c.avx512 = zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  c.avx512_vnni = c.avx512 && bit(seven.c, 11);
  c.avx512_bf16 = c.avx512 && bit(seven_one, 5);
  c.amx_tile = tiles && bit(seven.d, 24);
  c.amx_bf16 = c.amx_tile && bit(seven.d, 22);
  return c;
}

}  // namespace

const Cpu& cpu() {
  static const Cpu c = ask();
  return c;
}

bool amx_permitted() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, request, tile_data) == 0;
  return granted;
}

#else

/// The kernels of AVX2 are built in this machine's own words (kernel/region.h).
const Cpu& cpu() {
  static const Cpu c{.brand = "not x86-64", .avx2 = true, .fma = true, .f16c = true};
  return c;
}

bool amx_permitted() { return false; }

#endif

}  // namespace heed::isa
