// SPDX-License-Identifier: Apache-2.0
// GRU (Cho et al., 2014) and LSTM (Hochreiter and Schmidhuber, 1997) in torch's form:
//   r, z = sigmoid(W x + b + U h + c),  n = tanh(W x + b + r (U h + c)),  h' = (1 - z) n + z h
//   i, f, o = sigmoid(...), g = tanh(...),  c' = f c + i g,  h' = o tanh(c')
#include <tuple>

#include "heed/ops.h"
#include "ops/lanes.h"

namespace heed {
inline namespace v0 {
using namespace heed::ops;

namespace {

Tensor gru_step(const Ops& ops, const Tensor& from_input, const Tensor& h, const Tensor& hidden, const Tensor& bias) {
  const std::int64_t H = h.extent(1);
  const Tensor from_hidden = ops.linear(h, hidden, bias);
  const auto gate = [&](std::int64_t at) { return ops.sigmoid(ops.add(from_input.slice(1, at * H, H), from_hidden.slice(1, at * H, H))); };
  const Tensor r = gate(0), z = gate(1);
  const Tensor n = ops.tanh(ops.add(from_input.slice(1, 2 * H, H), ops.mul(r, from_hidden.slice(1, 2 * H, H))));
  return ops.add(n, ops.mul(z, ops.sub(h, n)));
}

std::pair<Tensor, Tensor> lstm_step(const Ops& ops, const Tensor& from_input, const Tensor& h, const Tensor& c, const Tensor& hidden,
                                    const Tensor& bias) {
  const std::int64_t H = h.extent(1);
  const Tensor sum = ops.add(from_input, ops.linear(h, hidden, bias));
  const auto part = [&](std::int64_t at) { return sum.slice(1, at * H, H); };
  const Tensor next = ops.add(ops.mul(ops.sigmoid(part(1)), c), ops.mul(ops.sigmoid(part(0)), ops.tanh(part(2))));
  return {ops.mul(ops.sigmoid(part(3)), ops.tanh(next)), next};
}

/// Throws unless the weights are [gates H, I] and [gates H, H] and the state is [B, H].
void check(const Tensor& x, int rank, const Tensor& h, const Tensor& input, const Tensor& hidden, std::int64_t gates) {
  need(x, DType::f32, "x");
  need(input, DType::f32, "input");
  need(hidden, DType::f32, "hidden");
  if (x.rank() != rank) fail("x", rank == 2 ? "[B, I]" : "[B, N, I]", x.shape().text());
  const std::int64_t H = hidden.rank() == 2 ? hidden.extent(1) : -1;
  if (hidden.rank() != 2 || hidden.extent(0) != gates * H) fail("hidden", "[" + std::to_string(gates) + " H, H]", hidden.shape().text());
  if (input.shape() != Shape{gates * H, x.extent(-1)}) fail("input", Shape{gates * H, x.extent(-1)}.text(), input.shape().text());
  if (h.defined() && h.shape() != Shape{x.extent(0), H}) fail("h", Shape{x.extent(0), H}.text(), h.shape().text());
}

/// step(row n of the inputs' products) in order; every h, [B, N, H].
template <class Step>
Tensor run(const Ops& ops, const Tensor& products, std::int64_t H, bool reverse, Step&& step) {
  const std::int64_t B = products.extent(0), N = products.extent(1);
  if (N == 0) return Tensor(DType::f32, {B, 0, H});
  std::vector<Tensor> all(static_cast<std::size_t>(N));
  for (std::int64_t i = 0; i < N; ++i) {
    const std::int64_t n = reverse ? N - 1 - i : i;
    all[std::size_t(n)] = step(products.slice(1, n, 1).reshape({B, products.extent(2)}));
  }
  return ops.stack(all, 1);
}

Tensor start(const Tensor& given, const Tensor& x, const Tensor& hidden) {
  return given.defined() ? given : Tensor::zeros(DType::f32, {x.extent(0), hidden.extent(1)});
}

}  // namespace

Tensor Ops::gru_cell(const Tensor& x, const Tensor& h, const Tensor& input, const Tensor& hidden, const Tensor& input_bias,
                     const Tensor& hidden_bias) const {
  check(x, 2, h, input, hidden, 3);
  return gru_step(*this, linear(x, input, input_bias), start(h, x, hidden), hidden, hidden_bias);
}

std::pair<Tensor, Tensor> Ops::lstm_cell(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& input, const Tensor& hidden,
                                         const Tensor& input_bias, const Tensor& hidden_bias) const {
  check(x, 2, h, input, hidden, 4);
  check(x, 2, c, input, hidden, 4);
  return lstm_step(*this, linear(x, input, input_bias), start(h, x, hidden), start(c, x, hidden), hidden, hidden_bias);
}

Tensor Ops::gru(const Tensor& x, const Tensor& h, const Tensor& input, const Tensor& hidden, const Tensor& input_bias,
                const Tensor& hidden_bias, bool reverse) const {
  check(x, 3, h, input, hidden, 3);
  Tensor state = start(h, x, hidden);
  return run(*this, linear(x, input, input_bias), hidden.extent(1), reverse,
             [&](const Tensor& row) { return state = gru_step(*this, row, state, hidden, hidden_bias); });
}

std::pair<Tensor, Tensor> Ops::lstm(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& input, const Tensor& hidden,
                                    const Tensor& input_bias, const Tensor& hidden_bias, bool reverse) const {
  check(x, 3, h, input, hidden, 4);
  check(x, 3, c, input, hidden, 4);
  Tensor state = start(h, x, hidden), cell = start(c, x, hidden);
  const Tensor all = run(*this, linear(x, input, input_bias), hidden.extent(1), reverse, [&](const Tensor& row) {
    std::tie(state, cell) = lstm_step(*this, row, state, cell, hidden, hidden_bias);
    return state;
  });
  return {all, cell};
}

}  // namespace v0
}  // namespace heed
