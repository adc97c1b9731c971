// SPDX-License-Identifier: Apache-2.0
#include "engine/matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/float16.h"
#include "base/parallel.h"
#include "engine/repack.h"
#include "heed/error.h"

namespace heed::engine {
namespace {

using product::Layout, product::panel;

constexpr std::int64_t task_rows = 384, task_columns = 64, few_rows = 4, task_bytes = 128 << 10;

/// Few operations do not pay for waking threads.
int threads_for(const Context& context, std::int64_t products) { return products < (std::int64_t{1} << 17) ? 1 : context.threads; }

/// Storage of at least so many bytes, the one there is if it is large enough.
std::uint8_t* reserve(Tensor& storage, std::int64_t bytes) {
  if (!storage.defined() || storage.count() < bytes) storage = Tensor(DType::u8, Shape{bytes});
  return storage.data<std::uint8_t>();
}

template <class F>
void each_row(const Context& context, std::int64_t n, std::int64_t k, const F& f) {
  constexpr std::int64_t piece = 16;
  base::parallel(threads_for(context, n * k), (n + piece - 1) / piece, [&](std::int64_t task, int) {
    for (std::int64_t i = task * piece; i < std::min(n, (task + 1) * piece); ++i) f(i);
  });
}

}  // namespace

const product::Rows& Activations::integers(const Context& context, const product::Loops& loops) {
  if (has_integers_) return rows_;
  const std::int64_t blocks = n_ * (k_ / 32);
  std::uint8_t* to = reserve(integers_, n_ * k_ + blocks * 20);
  auto* scale = reinterpret_cast<float*>(to + n_ * k_);
  auto* minus = reinterpret_cast<std::int32_t*>(scale + 2 * blocks);
  rows_ = {reinterpret_cast<std::int8_t*>(to), scale, scale + blocks, minus, minus + blocks, k_};
  each_row(context, n_, k_, [&](std::int64_t i) { loops.quantise(x_ + i * ldx_, rows_.from(i)); });
  has_integers_ = true;
  return rows_;
}

const std::uint16_t* Activations::bf16(const Context& context, const product::Loops& loops) {
  const std::int64_t even = k_ + k_ % 2;
  auto* to = reinterpret_cast<std::uint16_t*>(reserve(bf16_, n_ * even * 2));
  if (has_bf16_) return to;
  each_row(context, n_, k_, [&](std::int64_t i) {
    loops.round(x_ + i * ldx_, k_, to + i * even);
    if (even > k_) to[i * even + k_] = 0;
  });
  has_bf16_ = true;
  return to;
}

void Matrix::allocate(Layout layout, const Shape& shape, const std::string& name) {
  if (shape.rank() != 2) fail(name, "[out, in]", shape.text());
  layout_ = layout;
  outputs_ = shape[0], inputs_ = shape[1];
  panel_ = product::panel_bytes(layout, inputs_);
  bytes_ = std::size_t((outputs_ + panel - 1) / panel * panel_);
  panels_ = Tensor::zeros(DType::u8, Shape{std::int64_t(bytes_)});
}

/// Row i of the weight into its panel; a task is a panel.
template <class F>
void Matrix::fill(int threads, const F& row) {
  const bool few = outputs_ * inputs_ < std::int64_t{1} << 14;
  base::parallel(few ? 1 : threads, (outputs_ + panel - 1) / panel, [&](std::int64_t at, int) {
    for (std::int64_t i = at * panel; i < std::min(outputs_, (at + 1) * panel); ++i) row(i, panels_.data<std::uint8_t>() + at * panel_);
  });
}

Matrix::Matrix(const Tensor& weight, int threads) {
  const DType type = weight.dtype();
  if (type != DType::f32 && type != DType::bf16 && type != DType::f16) fail("weight", "f32, bf16 or f16", name_of(type));
  allocate(type == DType::f32 ? Layout::f32 : type == DType::bf16 ? Layout::bf16 : Layout::f16, weight.shape(), "weight");
  const Tensor dense = weight.dense();
  const std::size_t row = std::size_t(inputs_) * size_of(type);
  fill(threads, [&](std::int64_t i, std::uint8_t* to) {
    repack_floats(layout_, dense.data<std::uint8_t>() + std::size_t(i) * row, inputs_, int(i % panel), to);
  });
}

Matrix::Matrix(const GgufTensor& weight, const std::shared_ptr<const void>&, int threads) {
  const Layout layout = layout_of(weight.type);
  allocate(layout, weight.shape, weight.name);
  const std::int64_t block = block_channels(weight.type);
  if (inputs_ % block != 0) fail(weight.name, "rows of a multiple of " + std::to_string(block), weight.shape.text());
  const std::size_t row = std::size_t(inputs_ / block * block_bytes(weight.type));
  if (weight.bytes != row * std::size_t(outputs_))
    fail(weight.name, std::to_string(row * std::size_t(outputs_)) + " bytes", std::to_string(weight.bytes));
  const auto* from = reinterpret_cast<const std::uint8_t*>(weight.data);
  fill(threads, [&](std::int64_t i, std::uint8_t* to) {
    if (product::is_quantised(layout))
      repack(weight.type, from + std::size_t(i) * row, inputs_, int(i % panel), to);
    else
      repack_floats(layout, from + std::size_t(i) * row, inputs_, int(i % panel), to);
  });
}

void Matrix::row(std::int64_t i, float* to) const {
  if (i < 0 || i >= outputs_) fail("i", "a row below " + std::to_string(outputs_), std::to_string(i));
  const product::Expand expand = product::loops_of(Isa::avx2).expand[int(layout_)];
  const std::uint8_t* w = panel_at(i / panel);
  float part[64 * panel];
  for (std::int64_t p = 0; p < inputs_; p += 64) {
    const std::int64_t here = std::min<std::int64_t>(64, inputs_ - p);
    const float* from = part;
    if (expand)
      expand(w, inputs_, p, here, part);
    else
      from = reinterpret_cast<const float*>(w) + p * panel;
    for (std::int64_t e = 0; e < here; ++e) to[p + e] = from[e * panel + i % panel];
  }
}

Matrix::Way Matrix::way(const Context& context, Activations& x) const {
  if (!defined()) fail("weight", "a matrix", "none");
  if (x.k_ != inputs_) fail("x", "rows of " + std::to_string(inputs_) + " channels", std::to_string(x.k_));
  Way way{&product::loops_of(context.isa)};
  if (x.n_ == 0 || (context.precision != Precision::fast && context.precision != Precision::int8)) return way;
  if (product::is_quantised(layout_)) way.integers = &x.integers(context, *way.loops);
  if (layout_ == Layout::bf16 && way.loops->bf16) way.pairs = x.bf16(context, *way.loops);
  return way;
}

/// Rows [i, i + n) and outputs [j, j + columns), j a multiple of a panel.
void Matrix::block(const Way& way, const Activations& x, std::int64_t i, std::int64_t n, std::int64_t j, std::int64_t columns, float* to,
                   std::int64_t ldy) const {
  const std::uint8_t* w = panel_at(j / panel);
  if (way.integers) return way.loops->dots[int(layout_)](way.integers->from(i), n, w, panel_, columns, to, ldy);
  const std::int64_t k = way.pairs ? (inputs_ + 1) / 2 : inputs_, ld = way.pairs ? k : x.ldx_;
  const float* from = way.pairs ? reinterpret_cast<const float*>(way.pairs) : x.x_;
  const bool whole = way.pairs || layout_ == Layout::f32;  // panels as they lie
  const product::Expand expand = way.loops->expand[int(layout_)];
  for (std::int64_t p = 0; p == 0 || p < k; p += product::depth) {
    const std::int64_t here = std::min(product::depth, k - p);
    const float* b = reinterpret_cast<const float*>(w) + p * panel;
    if (!whole && n <= few_rows) {
      way.loops->thin[int(layout_)]({from + i * ld + p, ld, 1, product::most_rows * ld}, n, w, panel_, inputs_, p, here, columns, to, ldy,
                                    p > 0);
      continue;
    }
    std::int64_t apart = panel_ / 4;
    if (!whole) {
      apart = here * panel;
      float* wide = product::scratch((columns + panel - 1) / panel * apart);
      for (std::int64_t c = 0; c < columns; c += panel) expand(w + c / panel * panel_, inputs_, p, here, wide + c * here);
      b = wide;
    }
    (way.pairs ? way.loops->bf16 : way.loops->f32)({from + i * ld + p, ld, 1, product::most_rows * ld}, b, panel, apart, here, n, columns,
                                                   to, ldy, p > 0);
  }
}

void Matrix::multiply(const Context& context, Activations& x, std::span<const Product> products) {
  struct Part {
    Product product;
    Way way;
    std::int64_t first;  ///< of its units among those of all
  };
  std::vector<Part> parts;
  parts.reserve(products.size());
  std::int64_t outputs = 0, units = 0, bytes = 0;
  const bool few = x.n_ <= few_rows;  // units are panels, and blocks of the product otherwise
  const std::int64_t row_blocks = (x.n_ + task_rows - 1) / task_rows, columns = few ? panel : task_columns;
  for (const Product& p : products) {
    parts.push_back({p, p.weight->way(context, x), units});
    outputs += p.weight->outputs_, bytes += std::int64_t(p.weight->bytes_);
    units += (p.weight->outputs_ + columns - 1) / columns * row_blocks;
  }
  if (x.n_ == 0 || outputs == 0) return;
  const auto part_of = [&](std::int64_t unit) {
    return std::upper_bound(parts.begin(), parts.end(), unit, [](std::int64_t at, const Part& p) { return at < p.first; }) - 1;
  };
  const auto block = [](const Part& p, const Activations& rows, std::int64_t i, std::int64_t n, std::int64_t from, std::int64_t to) {
    const std::int64_t end = std::min(to, p.product.weight->outputs_);
    p.product.weight->block(p.way, rows, i, n, from, end - from, p.product.y + i * p.product.ldy + from, p.product.ldy);
  };
  const int threads = threads_for(context, x.n_ * outputs * x.k_), workers = base::thread_count(threads);
  if (!few) {
    return base::parallel(threads, units, [&](std::int64_t unit, int) {
      const Part& p = *part_of(unit);
      const std::int64_t strips = (p.product.weight->outputs_ + columns - 1) / columns, at = unit - p.first;
      const std::int64_t i = at / strips * task_rows, j = at % strips * columns;
      block(p, x, i, std::min(task_rows, x.n_ - i), j, j + columns);
    });
  }
  // Memory sets the pace: a task is a run of panels, long enough to be a stream, and threads end together.
  const std::int64_t tasks = std::min(units, workers * std::clamp<std::int64_t>(bytes / task_bytes / workers, 2, 16));
  base::parallel(threads, tasks, [&](std::int64_t task, int) {
    const std::int64_t last = units * (task + 1) / tasks;
    for (std::int64_t unit = units * task / tasks; unit < last;) {
      const auto p = part_of(unit);
      const std::int64_t end = p + 1 == parts.end() ? last : std::min(last, (p + 1)->first);
      const std::int64_t step = p->way.integers ? end - unit : std::min<std::int64_t>(end - unit, task_columns / panel);
      block(*p, x, 0, x.n_, (unit - p->first) * panel, (unit + step - p->first) * panel);
      unit += step;
    }
  });
}

}  // namespace heed::engine
