// SPDX-License-Identifier: Apache-2.0
#include "kernel/product.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "isa/cpu.h"
#include "kernel/product_loops.h"

namespace heed::product {
namespace {

struct Free {
  void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
};

std::int64_t up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

/// `lanes` columns of B, zero up to 16: to[k][16].
void pack_panel(const Loops& loops, const float* from, std::int64_t lane, std::int64_t step, std::int64_t lanes, std::int64_t k,
                float* to) {
  if (lanes == panel && step == 1) return loops.pack(from, lane, k, to);
  if (lanes < panel) std::fill(to, to + panel * k, 0.0f);
  if (lane == 1 && lanes == panel) {
    for (std::int64_t p = 0; p < k; ++p) std::memcpy(to + p * panel, from + p * step, panel * sizeof(float));
  } else if (lane == 1) {
    for (std::int64_t p = 0; p < k; ++p) std::copy(from + p * step, from + p * step + lanes, to + p * panel);
  } else {
    for (std::int64_t p = 0; p < k; p += 16)  // a cache line of each lane at a time
      for (std::int64_t l = 0; l < lanes; ++l)
        for (std::int64_t e = p; e < std::min(p + 16, k); ++e) to[e * panel + l] = from[l * lane + e * step];
  }
}

}  // namespace

float* scratch(std::int64_t count) {
  thread_local std::unique_ptr<float, Free> data;
  thread_local std::int64_t size = 0;
  if (count > size) {
    data.reset(static_cast<float*>(::operator new(std::size_t(count) * sizeof(float), std::align_val_t(64))));
    size = count;
  }
  return data.get();
}

const Loops& loops_of(Isa isa) {
  static const Loops without_vnni = [] {
    Loops loops = avx512_loops;
    std::copy(std::begin(avx2_loops.dots), std::end(avx2_loops.dots), loops.dots);
    return loops;
  }();
  switch (isa) {
    case Isa::avx2:
      return avx2_loops;
    case Isa::avx512:
      return isa::cpu().avx512_vnni ? vnni_loops : without_vnni;
    case Isa::avx512_bf16:
    case Isa::amx:
      return avx512_bf16_loops;
    default:
      return emulated_loops;
  }
}

const Loops* paired_loops_of(Isa isa) {
  static const auto paired = [](const Loops& from) {
    Loops loops = from;
    loops.f32 = loops.bf16, loops.turned = nullptr;
    return loops;
  };
  static const Loops vector = paired(avx512_bf16_loops), emulated = paired(emulated_loops);
  const Loops& loops = loops_of(isa);
  return !loops.bf16 ? nullptr : &loops == &emulated_loops ? &emulated : &vector;
}

Blocks blocks_of(int threads, std::int64_t jobs, std::int64_t m, std::int64_t n) {
  Blocks cut{512, 256, 0, 0};
  const int workers = base::thread_count(threads);
  const std::int64_t wanted = workers > 1 ? 4 * workers : 1;
  for (;;) {
    cut.row_blocks = (m + cut.rows - 1) / cut.rows;
    cut.column_blocks = (n + cut.columns - 1) / cut.columns;
    if (jobs * cut.row_blocks * cut.column_blocks >= wanted) return cut;
    if (cut.rows > 96 && m > 96)
      cut.rows /= 2;
    else if (cut.columns > 64 && n > 64)
      cut.columns /= 2;
    else
      return cut;
  }
}

void block(const Loops& loops, const Job& job, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns,
           std::int64_t k) {
  constexpr std::int64_t few = 24;  // rows below which rows of B are read where they are
  float* out = job.out + row * job.out_row + column;
  if (k == 0)
    for (std::int64_t i = 0; i < rows; ++i) std::fill(out + i * job.out_row, out + i * job.out_row + columns, 0.0f);
  const bool in_place = job.b.column == 1 && rows <= few, turned = job.b.row == 1 && rows <= 2 && !in_place && loops.turned;
  const std::int64_t whole = in_place || turned ? columns / panel * panel : 0;  // columns that need no packing
  const std::int64_t deep = std::min(k, depth);
  float* b = scratch(up(columns - whole, panel) * deep + (job.a.column == 1 ? 0 : up(rows, most_rows) * deep));
  float* packed = b + up(columns - whole, panel) * deep;
  for (std::int64_t p = 0; p < k; p += depth) {
    const std::int64_t here = std::min(depth, k - p);
    Left a{job.a.data + row * job.a.row + p * job.a.column, job.a.row, job.a.column, most_rows * job.a.row};
    if (job.a.column != 1) {
      const std::int64_t groups = a.row == 1 ? rows / most_rows * most_rows : 0;
      for (std::int64_t e = 0; e < here; ++e)
        for (std::int64_t i = 0; i < groups; i += most_rows)
          std::memcpy(packed + i * here + e * most_rows, a.data + i + e * a.step, most_rows * sizeof(float));
      for (std::int64_t i = groups; i < rows; i += most_rows)
        for (std::int64_t e = 0; e < here; ++e)
          for (std::int64_t r = i; r < std::min(rows, i + most_rows); ++r)
            packed[i * here + e * most_rows + r - i] = a.data[r * a.row + e * a.step];
      a = {packed, 1, most_rows, most_rows * here};
    }
    // Turning 16 rows costs more than twice what 8 cost (Zen 5), so few rows take the narrower loop on every instruction set.
    const float* right = job.b.data + p * job.b.row + column * job.b.column;
    for (std::int64_t j = whole; j < columns; j += panel)
      pack_panel(loops, right + j * job.b.column, job.b.column, job.b.row, std::min(panel, columns - j), here, b + (j - whole) * here);
    if (whole > 0 && turned)
      avx2_loops.turned(a, right, job.b.column, here, rows, whole, out, job.out_row, p > 0);
    else if (whole > 0)
      loops.f32(a, right, job.b.row, panel, here, rows, whole, out, job.out_row, p > 0);
    if (whole < columns) loops.f32(a, b, panel, here * panel, here, rows, columns - whole, out + whole, job.out_row, p > 0);
  }
}

}  // namespace heed::product
