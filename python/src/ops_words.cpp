// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

void bind_words(nb::module_& m) {
  bind(m, "straight_through(value, x)", &Ops::straight_through, "value, whose gradient goes to x.");
  bind(m, "argmin(x, axis, keepdim=False)", &Ops::argmin, "Index of the smallest (int64); the first of equals.");
  bind(m, "sort(x, axis, descending=False)", &Ops::sort, "Values and their indices; stable; NaN is the largest.");
  bind(m, "cumprod(x, axis)", &Ops::cumprod, "Products of the elements up to and with each.");
  bind(m, "flip(x, axes)", &Ops::flip, "The order of some axes turned round.");
  bind(m, "roll(x, axis, places)", &Ops::roll, "out[(i + places) mod n] = x[i].");
  bind(m, "embedding_bag(table, index, offsets, mode='mean', weights=None)", &Ops::embedding_bag,
       "Sum, mean or max of the rows that index[n] names, in bags that begin at offsets.");
  bind(m, "einsum(equation, operands)", &Ops::einsum, "Einstein's notation, 'bnhd,bmhd->bhnm', for a list of operands.");
  bind(m, "outer(a, b)", &Ops::outer, "a[..., m], b[..., n]: [..., m, n].");
  bind(m, "norm(x, axis, keepdim=False)", &Ops::norm, "The Euclidean norm.");
  bind(m, "l2_normalise(x, axis, epsilon=1e-12)", &Ops::l2_normalise, "x / max(norm, epsilon).");
  bind(m, "cosine_similarity(a, b, axis, epsilon=1e-8)", &Ops::cosine_similarity, "a.b over the norms, each at least epsilon.");
  bind(m, "solve(a, b)", &Ops::solve, "x with a[..., n, n] x = b[..., n, m].");
  bind(m, "triangle(rows, columns, diagonal=0)", &Ops::triangle, "A mask: column <= row + diagonal.");
  bind(m, "fft(x, axis, inverse=False)", &Ops::fft, "The Fourier transform of complex numbers, a last axis of 2, along another axis.");
  bind(m, "rfft(x, axis)", &Ops::rfft, "The first n/2 + 1 of the transform of real numbers, a new last axis of 2.");
  bind(m, "irfft(x, axis, n)", &Ops::irfft, "The n real numbers whose rfft this is.");
  bind(m, "complex_mul(a, b, conjugate_a=False)", &Ops::complex_mul, "The product of complex numbers, a last axis of 2.");
  bind(m, "dct(x, axis, orthonormal=True)", &Ops::dct, "The cosine transform of type II.");
  bind(m, "idct(x, axis, orthonormal=True)", &Ops::idct, "The inverse of dct.");
  bind(m, "gru_cell(x, h, input, hidden, input_bias=None, hidden_bias=None)", &Ops::gru_cell,
       "The next h[B, H] of x[B, I]; rows of the weights r, z, n.");
  bind(m, "lstm_cell(x, h, c, input, hidden, input_bias=None, hidden_bias=None)", &Ops::lstm_cell,
       "The next (h, c) of x[B, I]; rows of the weights i, f, g, o.");
  bind(m, "gru(x, h, input, hidden, input_bias=None, hidden_bias=None, reverse=False)", &Ops::gru, "Every h[B, N, H] of x[B, N, I].");
  bind(m, "lstm(x, h, c, input, hidden, input_bias=None, hidden_bias=None, reverse=False)", &Ops::lstm,
       "Every h[B, N, H] of x[B, N, I], and the last c.");
  bind(m, "uniform(shape, draw_seed, stream=0)", &Ops::uniform, "Draws in [0, 1), a function of (draw_seed, stream).");
  bind(m, "normal(shape, draw_seed, stream=0)", &Ops::normal, "Draws of mean 0 and deviation 1.");
  bind(m, "gumbel(shape, draw_seed, stream=0)", &Ops::gumbel, "Draws of -log(-log(u)).");
  bind(m, "permutation(n, draw_seed, stream=0)", &Ops::permutation, "0 to n - 1 in random order (int64).");
}

}  // namespace heed::python
