// SPDX-License-Identifier: Apache-2.0
#include "cache/key_values.h"

#include <algorithm>
#include <cstring>
#include "base/parallel.h"
#include "kernel/rows.h"

namespace heed::cache {
namespace {

constexpr std::int64_t rows_a_task = 64;

/// n dense floats as dtype.
void convert(const kernel::RowTable& loops, const float* from, std::int64_t n, DType dtype, std::byte* to) {
  if (dtype == DType::f32)
    std::copy_n(from, n, reinterpret_cast<float*>(to));
  else if (dtype == DType::f16)
    loops.to_f16(from, n, reinterpret_cast<std::uint16_t*>(to));
  else
    loops.to_bf16(from, n, reinterpret_cast<std::uint16_t*>(to));
}

void copy_rows(const Tensor& from, const Tensor& to, std::int64_t at, const Context& context) {
  const std::int64_t n = from.extent(1), heads = from.extent(2), width = from.extent(3), bytes = std::int64_t(size_of(to.dtype()));
  const auto& loops = kernel::rows_of(context.isa);
  base::parallel(context.threads, (n + rows_a_task - 1) / rows_a_task, [&](std::int64_t task, int) {
    for (std::int64_t i = task * rows_a_task; i < std::min(n, (task + 1) * rows_a_task); ++i)
      for (std::int64_t h = 0; h < heads; ++h)
        convert(loops, from.data<float>() + i * from.stride(1) + h * from.stride(2), width, to.dtype(),
                to.data<std::byte>() + (h * to.stride(0) + (at + i) * to.stride(1)) * bytes);
  });
}

/// (heads, capacity, width) seen as (1, length, heads, width).
Tensor tokens(const Tensor& rows, std::int64_t from, std::int64_t length) {
  View view = rows.slice(1, from, length);
  view.shape = Shape{1, length, rows.extent(0), rows.extent(2)};
  view.strides = {rows.count(), rows.stride(1), rows.stride(0), 1};
  return {view, std::make_shared<Tensor>(rows)};
}

}  // namespace

KeyValues::KeyValues(DType kept, std::int64_t capacity, std::int64_t heads, std::int64_t key_width, std::int64_t value_width)
    : capacity_(capacity), keys_(kept, {heads, capacity, key_width}), values_(kept, {heads, capacity, value_width}) {}

void KeyValues::append(const Tensor& k, const Tensor& v, const Context& context) {
  const auto want = [&](const char* name, const Tensor& x, std::int64_t n, const Tensor& kept) {
    const Shape shape{1, n, kept.extent(0), kept.extent(2)};
    if (x.dtype() != DType::f32) fail(name, "f32", name_of(x.dtype()));
    if (!(x.shape() == shape)) fail(name, shape.text(), x.shape().text());
    if (x.stride(3) != 1) fail(name, "channels side by side", "a stride of " + std::to_string(x.stride(3)));
  };
  if (k.rank() != 4) fail("k", "rank 4 (1, n, G, D)", k.shape().text());
  const std::int64_t n = k.extent(1);
  want("k", k, n, keys_);
  want("v", v, n, values_);
  if (n > capacity_ - size_) fail("tokens", "at most " + std::to_string(capacity_ - size_) + " more", std::to_string(n));
  copy_rows(k, keys_, size_, context);
  copy_rows(v, values_, size_, context);
  size_ += n;
}

void KeyValues::erase(std::int64_t from, std::int64_t count) {
  if (from < 0 || count < 0 || from > size_ - count)
    fail("erase", "tokens that are held", std::to_string(from) + " + " + std::to_string(count));
  for (const Tensor* rows : {&keys_, &values_}) {
    const auto line = rows->extent(2) * std::int64_t(size_of(rows->dtype()));
    for (std::int64_t h = 0; h < rows->extent(0); ++h) {
      std::byte* base = rows->data<std::byte>() + (h * capacity_ + from) * line;
      std::memmove(base, base + count * line, std::size_t((size_ - from - count) * line));
    }
  }
  size_ -= count;
}

Tensor KeyValues::keys(std::int64_t from, std::int64_t length) const { return tokens(keys_, from, length); }
Tensor KeyValues::values(std::int64_t from, std::int64_t length) const { return tokens(values_, from, length); }

std::int64_t KeyValues::bytes() const {
  return size_ * keys_.extent(0) * (keys_.extent(2) + values_.extent(2)) * std::int64_t(size_of(keys_.dtype()));
}

Tensor rounded(const Tensor& x, DType dtype, const Context& context) {
  if (dtype == DType::f32) return x;
  const Tensor from = x.dense(), to(dtype, x.shape());
  const auto& loops = kernel::rows_of(context.isa);
  constexpr std::int64_t piece = 1 << 14;
  const std::int64_t n = x.count();
  base::parallel(context.threads, (n + piece - 1) / piece, [&](std::int64_t task, int) {
    convert(loops, from.data<float>() + task * piece, std::min(piece, n - task * piece), dtype, to.data<std::byte>() + task * piece * 2);
  });
  return to;
}

}  // namespace heed::cache
