// SPDX-License-Identifier: Apache-2.0
// Contractions in Einstein's notation, and what is made of products and norms.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <string>

#include "heed/ops.h"
#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

/// A tensor whose axes have letters.
struct Lettered {
  std::string letters;
  Tensor tensor;
};

bool has(const std::string& letters, char letter) { return letters.find(letter) != std::string::npos; }

/// The letters of one operand; "..." becomes one digit an axis.
std::string spelled(const std::string& text, int rank) {
  std::string letters;
  const auto dots = text.find("...");
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i == dots) {
      for (int extra = rank - int(text.size()) + 3; extra > 0; --extra) letters += char('0' + extra);
      i += 2;
    } else {
      if (!std::isalpha(static_cast<unsigned char>(text[i]))) fail("equation", "letters, ',', '->' and '...'", "'" + text + "'");
      if (has(letters, text[i])) fail("equation", "each letter once an operand", "'" + text + "'");
      letters += text[i];
    }
  }
  return letters;
}

/// Axes in the order of `letters`, which are those that x has.
Tensor arranged(const Lettered& x, const std::string& letters) {
  std::vector<int> order;
  for (const char letter : letters) order.push_back(int(x.letters.find(letter)));
  return x.tensor.permute(order);
}

/// Sums the letters that nobody needs any more.
Lettered without(const Ops& ops, const Lettered& x, const std::string& needed) {
  std::vector<int> axes;
  std::string left;
  for (std::size_t i = 0; i < x.letters.size(); ++i) {
    if (has(needed, x.letters[i]))
      left += x.letters[i];
    else
      axes.push_back(int(i));
  }
  return axes.empty() ? x : Lettered{left, ops.sum(x.tensor, axes)};
}

/// The product of two, summed over the letters that both have and nobody needs: one batched matrix product.
Lettered product(const Ops& ops, const Lettered& a, const Lettered& b, const std::string& needed) {
  std::string batch, summed, rows, columns;
  for (const char letter : a.letters) (!has(b.letters, letter) ? rows : has(needed, letter) ? batch : summed) += letter;
  for (const char letter : b.letters)
    if (!has(a.letters, letter)) columns += letter;
  std::vector<std::int64_t> extents;
  const auto size = [&](const Lettered& x, const std::string& letters, bool keep) {
    std::int64_t count = 1;
    for (const char letter : letters) {
      const auto extent = x.tensor.extent(int(x.letters.find(letter)));
      count *= extent;
      if (keep) extents.push_back(extent);
    }
    return count;
  };
  const std::int64_t n = size(a, batch, true), i = size(a, rows, true), j = size(b, columns, true), k = size(a, summed, false);
  const Tensor left = arranged(a, batch + rows + summed).reshape({n, i, k}, ops.context().threads),
               right = arranged(b, batch + summed + columns).reshape({n, k, j}, ops.context().threads);
  const Tensor out = summed.empty() ? ops.mul(left, right) : ops.matmul(left, right);
  return {batch + rows + columns, out.reshape(Shape(extents))};
}

}  // namespace

Tensor Ops::einsum(const std::string& equation, const std::vector<Tensor>& operands) const {
  std::string whole = equation;
  whole.erase(std::remove(whole.begin(), whole.end(), ' '), whole.end());
  const auto arrow = whole.find("->");
  const std::string text = whole.substr(0, arrow);
  std::vector<Lettered> given;
  std::map<char, std::int64_t> extents;
  std::string shared;
  std::map<char, int> occurs;
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find(',', begin), text.size());
    if (given.size() == operands.size()) fail("operands", "one an item of '" + equation + "'", std::to_string(operands.size()));
    const Tensor& x = operands[given.size()];
    need(x, DType::f32, "operands");
    given.push_back({spelled(text.substr(begin, end - begin), x.rank()), x});
    const std::string& letters = given.back().letters;
    if (int(letters.size()) != x.rank())
      fail("operands", "rank " + std::to_string(letters.size()) + " for '" + text.substr(begin, end - begin) + "'", x.shape().text());
    for (std::size_t i = 0; i < letters.size(); ++i) {
      const auto [at, fresh] = extents.emplace(letters[i], x.extent(int(i)));
      if (!fresh && at->second != x.extent(int(i)))
        fail("operands", std::string("one extent of '") + letters[i] + "'",
             std::to_string(at->second) + " and " + std::to_string(x.extent(int(i))));
      ++occurs[letters[i]];
    }
    begin = end + 1;
  }
  if (given.size() != operands.size()) fail("operands", std::to_string(given.size()) + " tensors", std::to_string(operands.size()));
  for (auto letter = occurs.rbegin(); letter != occurs.rend(); ++letter)
    if (std::isdigit(static_cast<unsigned char>(letter->first))) shared += letter->first;
  std::string result;
  if (arrow != std::string::npos)
    result = spelled(whole.substr(arrow + 2), int(whole.size() - arrow) - 5 + int(shared.size()));
  else {
    result = shared;
    for (const auto& [letter, times] : occurs)
      if (times == 1 && !has(shared, letter)) result += letter;
  }
  for (const char letter : result)
    if (!occurs.count(letter)) fail("equation", "letters of the operands after '->'", std::string(1, letter));
  const auto needed = [&](std::size_t after) {
    std::string letters = result;
    for (std::size_t i = after; i < given.size(); ++i) letters += given[i].letters;
    return letters;
  };
  Lettered sum = without(*this, given[0], needed(1));
  for (std::size_t i = 1; i < given.size(); ++i)
    sum = product(*this, sum, without(*this, given[i], sum.letters + needed(i + 1)), needed(i + 1));
  return arranged(sum, result).dense(context_.threads);
}

Tensor Ops::outer(const Tensor& a, const Tensor& b) const {
  need(a, DType::f32, "a");
  need(b, DType::f32, "b");
  if (a.rank() < 1 || b.rank() < 1) fail(a.rank() < 1 ? "a" : "b", "rank 1 or more", "a number");
  auto column = a.shape().vector(), row = b.shape().vector();
  column.push_back(1);
  row.insert(row.end() - 1, 1);
  return mul(a.reshape(Shape(column)), b.reshape(Shape(row)));
}

namespace {
/// The Euclidean norm of each row of the last axis.
Tensor length_of_rows(const Context& context, const Tensor& x, bool keepdim) {
  const Tensor from = x.with_origin(nullptr).dense(context.threads);
  auto extents = x.shape().vector();
  const std::int64_t n = extents.back();
  extents.back() = 1;
  if (!keepdim) extents.pop_back();
  Tensor out(DType::f32, Shape(extents));
  pieces(context.threads, out.count(), 16384 / std::max<std::int64_t>(1, n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      out.raw<float>()[i] = float(std::sqrt(kernel::elements_of(context.isa).squares(from.raw<float>() + i * n, n, 0)));
  });
  return out;
}
}  // namespace

Tensor Ops::norm(const Tensor& x, int axis, bool keepdim) const {
  need(x, DType::f32, "x");
  const bool last = axis_of(axis, x.rank()) == x.rank() - 1;
  const Ops plain(context_, false);
  const Tensor out = last ? length_of_rows(context_, x, keepdim) : plain.sqrt(plain.sum(plain.square(x), {axis}, keepdim));
  return record(
      "norm", out, {&x},
      [x, axis = axis_of(axis, x.rank())](const Pull& p) -> std::vector<Tensor> {
        const Ops& o = p.ops;
        const Shape kept = with_axis(x.shape(), axis, 1);
        const Tensor length = p.output().reshape(kept);
        const Tensor safe = o.where(o.equal(length, o.full({}, 0)), o.full({}, 1), length);
        return {o.mul(x, o.div(p.gradient().reshape(kept), safe))};
      },
      true);
}

Tensor Ops::l2_normalise(const Tensor& x, int axis, float epsilon) const { return div(x, maximum(norm(x, axis, true), full({}, epsilon))); }

Tensor Ops::cosine_similarity(const Tensor& a, const Tensor& b, int axis, float epsilon) const {
  return sum(mul(l2_normalise(a, axis, epsilon), l2_normalise(b, axis, epsilon)), {axis});
}

Tensor Ops::triangle(std::int64_t rows, std::int64_t columns, std::int64_t diagonal) const {
  Tensor out(DType::boolean, {rows, columns});
  auto* to = out.raw<std::uint8_t>();
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) *to++ = j <= i + diagonal;
  return out;
}

}  // namespace v0
}  // namespace heed
