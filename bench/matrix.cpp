// SPDX-License-Identifier: Apache-2.0
// Matrix products, one thread, its CPU time, the best of many runs beside the peak of the same minute.
//   bench_matrix [rows inputs outputs]
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "clock.h"
#include "engine/matrix.h"
#include "engine/repack.h"
#include "isa/cpu.h"
#include "isa/isa.h"
#include "isa/loops.h"

namespace {
using namespace heed;

template <class F>
double best(const F& work, double total = 0.25) {
  double least = 1e9;
  for (double end = now() + total; now() < end;) {
    const double start = now();
    work();
    least = std::min(least, now() - start);
  }
  return least;
}

/// Billions of operations a second.
double peak(const isa::Loop& loop) {
  return 20000 * loop.operations / best([&] { loop.run(20000); }, 0.1) * 1e-9;
}

engine::Matrix random_matrix(GgmlType type, std::int64_t out, std::int64_t in) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> bytes(std::size_t(out * in / engine::block_channels(type) * engine::block_bytes(type) / 4));
  for (std::uint32_t& b : bytes) b = random() & 0x3bff3bffu;  // every 16 bits a finite half and bf16
  return engine::Matrix({"weight", type, Shape{out, in}, reinterpret_cast<const std::byte*>(bytes.data()), 4 * bytes.size()}, nullptr);
}
}  // namespace

int main(int argc, char** argv) {
  const std::int64_t n = argc > 3 ? std::atoll(argv[1]) : 512, in = argc > 3 ? std::atoll(argv[2]) : 576,
                     out = argc > 3 ? std::atoll(argv[3]) : 1536;
  const std::pair<GgmlType, const char*> types[] = {{GgmlType::F32, "f32"},   {GgmlType::BF16, "bf16"}, {GgmlType::F16, "f16"},
                                                    {GgmlType::Q8_0, "Q8_0"}, {GgmlType::Q4_0, "Q4_0"}, {GgmlType::Q4_1, "Q4_1"},
                                                    {GgmlType::Q4_K, "Q4_K"}, {GgmlType::Q6_K, "Q6_K"}};
  std::vector<float> x(std::size_t(n * in));
  std::mt19937 random(2);
  for (float& v : x) v = std::normal_distribution<float>()(random);
  const std::vector<char> memory(std::size_t{128} << 20, 1);
  fmt::print("{} x {} by {}; one thread's CPU time\n", n, in, out);
  for (const Isa set : {Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (!runs_here(set)) continue;
    const bool wide = set != Isa::avx2;
    const double fma = peak(wide ? isa::fma_avx512 : isa::fma_avx2);
    fmt::print("\n{}: f32 FMA {:.0f} GFLOP/s", name_of(set), fma);
    if (set == Isa::avx512_bf16) fmt::print(", VDPBF16PS {:.0f}", peak(isa::vdp_avx512));
    if (!wide || isa::cpu().avx512_vnni) fmt::print(", int8 {:.0f}", peak(wide ? isa::int8_vnni : isa::int8_avx2));
    const double read = best([&] { isa::read_avx2(memory.data(), memory.size()); });
    fmt::print(", memory {:.1f} GB/s\n", double(memory.size()) / read * 1e-9);
    for (const auto& [type, name] : types) {
      if (in % engine::block_channels(type) != 0) continue;
      for (const Precision precision : {Precision::strict, Precision::fast}) {
        Context context;
        context.isa = set, context.precision = precision, context.threads = 1;
        const engine::Matrix m = random_matrix(type, out, in);
        std::vector<float> y(std::size_t(n * out));
        const double took = best([&] { m.multiply(context, x.data(), n, in, y.data(), out); });
        const double rate = 2.0 * double(n * in * out) / took * 1e-9;
        // One row: so many outputs that the weight comes from memory.
        const engine::Matrix tall =
            random_matrix(type, (std::int64_t{128} << 20) / std::int64_t(m.bytes() / std::size_t(out)) / 64 * 64, in);
        std::vector<float> row(std::size_t(tall.outputs()));
        const double one = best([&] { tall.multiply(context, x.data(), 1, in, row.data(), tall.outputs()); });
        const double few = best([&] { m.multiply(context, x.data(), 1, in, y.data(), out); }, 0.05);
        fmt::print(
            "  {:5} {:6}  {:7.1f} GFLOP/s {:4.0f}% of FMA | 1 row from memory {:5.1f} GB/s {:3.0f}%, {} outputs in cache {:6.1f} us\n",
            name, precision == Precision::strict ? "strict" : "fast", rate, 100 * rate / fma, double(tall.bytes()) / one * 1e-9,
            100 * double(tall.bytes()) / one / (double(memory.size()) / read), out, few * 1e6);
      }
    }
  }
}
