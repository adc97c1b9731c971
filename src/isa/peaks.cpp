// SPDX-License-Identifier: Apache-2.0
// What the machine can do at best: each loop about 50 ms, the best of three.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/parallel.h"
#include "heed/doctor.h"
#include "isa/cpu.h"
#include "isa/isa.h"
#include "isa/loops.h"

namespace heed {
namespace isa {
namespace {

template <typename Work>
double seconds(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <typename Work>
double best_of_three(const Work& work) {
  return std::min({seconds(work), seconds(work), seconds(work)});
}

/// Billions of operations a second: one thread, all threads.
std::pair<double, double> measure(const Loop& loop, int threads) {
  long rounds = 1000;
  double took = 0;
  while ((took = seconds([&] { loop.run(rounds); })) < 5e-3) rounds *= 2;
  rounds = std::max(1L, long(double(rounds) * 50e-3 / took));
  const auto rate = [&](int n) {
    const auto work = [&] { base::parallel(n, n, [&](std::int64_t, int) { loop.run(rounds); }); };
    return double(n) * double(rounds) * loop.operations / best_of_three(work) * 1e-9;
  };
  const double one = rate(1);
  return {one, threads > 1 ? rate(threads) : one};
}

/// GB/s of reading 256 MiB: one thread, all threads (a slice each, written first by a parallel loop too).
std::optional<std::pair<double, double>> measure_read(int threads) {
  constexpr std::size_t step = 4096, size = std::size_t{256} << 20;
  const std::unique_ptr<char, decltype(&std::free)> buffer(static_cast<char*>(std::aligned_alloc(step, size)), &std::free);
  if (!buffer) return std::nullopt;
  const auto slices = [&](int n, const auto& work) {
    base::parallel(n, n, [&](std::int64_t i, int) {
      const std::size_t from = size / step * std::size_t(i) / std::size_t(n) * step;
      const std::size_t to = size / step * std::size_t(i + 1) / std::size_t(n) * step;
      if (to > from) work(buffer.get() + from, to - from);
    });
  };
  slices(threads, [](char* from, std::size_t bytes) { std::memset(from, 1, bytes); });
  const auto rate = [&](int n) { return double(size) / best_of_three([&] { slices(n, read_avx2); }) * 1e-9; };
  const double one = rate(1);
  return std::pair{one, threads > 1 ? rate(threads) : one};
}

void measure_into(Doctor& doctor) {
  const auto keep = [&](std::optional<double> Doctor::Peaks::*peak, const std::pair<double, double>& rates) {
    doctor.one.*peak = rates.first;
    doctor.all.*peak = rates.second;
  };
  const int n = doctor.threads;
  if (const Loop& loop = cpu().avx512 ? fma_avx512 : fma_avx2; loop.run) keep(&Doctor::Peaks::f32_fma, measure(loop, n));
  if (const Loop& loop = cpu().avx512_vnni ? int8_vnni : int8_avx2; loop.run) keep(&Doctor::Peaks::int8, measure(loop, n));
  if (runs_here(Isa::avx512_bf16)) keep(&Doctor::Peaks::bf16_vdp, measure(vdp_avx512, n));
  if (runs_here(Isa::amx)) keep(&Doctor::Peaks::bf16_amx, measure(tdp_amx, n));
  if (const auto read = measure_read(n)) keep(&Doctor::Peaks::read, *read);
}

}  // namespace
}  // namespace isa

inline namespace v0 {

Doctor examine(bool measure_peaks) {
  Doctor doctor;
  doctor.isa = default_isa();
  doctor.cpu = isa::cpu().brand;
  doctor.threads = base::thread_count(0);
  for (const Isa set : isa::all) {
    const std::string lacks = isa::why_not(set);
    doctor.isas.emplace_back(name_of(set), lacks.empty() ? "runs" : lacks);
  }
  if (measure_peaks) isa::measure_into(doctor);
  return doctor;
}

}  // namespace v0
}  // namespace heed
