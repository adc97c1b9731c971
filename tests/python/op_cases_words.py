# SPDX-License-Identifier: Apache-2.0
"""Sequences, contractions, spectra, recurrent cells, draws; the form of the table is op_cases_base.py's."""
import numpy as np
import torch
import torch.nn.functional as F

table_index, offsets = torch.tensor([2, 0, 3, 3, 1, 0]), torch.tensor([0, 2, 2, 5])
with_zeros = torch.tensor([[1.5, 0.0, -2.0, 0.5], [0.0, 3.0, 0.0, 1.0], [0.5, -1.0, 2.0, 3.0]])


def _einsum(equation, *shapes):
    return lambda o, *t: o.einsum(equation, list(t)), lambda *t: torch.einsum(equation, *t), list(shapes)


def _bag(mode, weights=None):
    def call(o, table, *w):
        return o.embedding_bag(table, table_index, offsets, mode, *w)

    def reference(table, *w):
        return F.embedding_bag(table_index, table, offsets, mode=mode, per_sample_weights=w[0] if w else None)
    return call, reference, [(4, 3)] + ([weights] if weights else [])


def _complex(x):
    return torch.view_as_complex(x.contiguous())


def _pair(x):
    return torch.view_as_real(x)


def _dct(x, axis, orthonormal):
    n = x.shape[axis]
    t, k = torch.arange(n, dtype=x.dtype), torch.arange(n, dtype=x.dtype)[:, None]
    matrix = 2 * torch.cos(torch.pi * k * (2 * t + 1) / (2 * n))
    if orthonormal:
        matrix = matrix * torch.where(k == 0, (1 / (4 * n)) ** 0.5, (1 / (2 * n)) ** 0.5)
    return matrix


def _dct_case(shape, axis, orthonormal, inverse):
    def reference(x):
        matrix = _dct(x, axis, orthonormal)
        if inverse:
            matrix = torch.linalg.inv(matrix)
        return (x.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return lambda o, x: (o.idct if inverse else o.dct)(x, axis, orthonormal), reference, [shape]


def _cell(kind, *tensors):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    make = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[kind]
    *states, w, u, b, c = tensors[1:]
    cell = make(w.shape[1], u.shape[1]).double()
    state = states[0] if kind == "gru" else tuple(states)
    return torch.func.functional_call(cell, dict(zip(names, (w, u, b, c))), (tensors[0], state))


def _sequence(kind, reverse, *tensors):
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    make = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind]
    x, *states, w, u, b, c = tensors
    net = make(w.shape[1], u.shape[1], batch_first=True).double()
    state = states[0][None] if kind == "gru" else tuple(s[None] for s in states)
    out, last = torch.func.functional_call(net, dict(zip(names, (w, u, b, c))), (x.flip(1) if reverse else x, state))
    out = out.flip(1) if reverse else out
    return out if kind == "gru" else (out, last[1][0])


def _recurrent(kind, steps, reverse=False):
    gates, B, I, H = {"gru": 3, "lstm": 4}[kind], 2, 3, 4
    states = [(B, H)] * (1 if kind == "gru" else 2)
    shapes = [(B, steps, I) if steps else (B, I), *states, (gates * H, I), (gates * H, H), (gates * H,), (gates * H,)]
    if not steps:
        return lambda o, *t: getattr(o, kind + "_cell")(*t), lambda *t: _cell(kind, *t), shapes
    return lambda o, *t: getattr(o, kind)(*t, reverse=reverse), lambda *t: _sequence(kind, reverse, *t), shapes


def _philox(seed, stream, blocks):
    """Philox4x32-10 (Salmon et al., 2011), [blocks, 4] of 32 bits."""
    mask, k = 0xFFFFFFFF, [seed & 0xFFFFFFFF, seed >> 32]
    rows = []
    for counter in range(blocks):
        x, key = [counter & mask, counter >> 32, stream & mask, stream >> 32], list(k)
        for _ in range(10):
            a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [(b >> 32) ^ x[1] ^ key[0], b & mask, (a >> 32) ^ x[3] ^ key[1], a & mask]
            key = [(key[0] + 0x9E3779B9) & mask, (key[1] + 0xBB67AE85) & mask]
        rows.append(x)
    return np.array(rows, dtype=np.float64)


def _uniform():
    return torch.from_numpy(np.floor(_philox(7, 3, 8) / 256) * 2.0**-24).flatten()[:30].view(5, 6)


def _normal():
    bits = _philox(7, 3, 15)
    radius, angle = np.sqrt(-2 * np.log((bits[:, 0] + 0.5) * 2.0**-32)), 2 * np.pi * bits[:, 1] * 2.0**-32
    return torch.from_numpy(np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)).flatten().view(5, 6)


def _gumbel():
    return torch.from_numpy(-np.log(-np.log((_philox(7, 3, 8) + 0.5) * 2.0**-32))).flatten()[:30].view(5, 6)


def _permutation():
    bits, order = _philox(7, 3, 10).astype(np.uint64).flatten(), list(range(20))
    for i in range(19, 0, -1):
        at = ((int(bits[2 * i]) << 32) | int(bits[2 * i + 1])) % (i + 1)
        order[i], order[at] = order[at], order[i]
    return torch.tensor(order)


CASES = {
    "straight_through": [(lambda o, v, x: o.straight_through(v, x), lambda v, x: x + (v - x).detach(), [torch.tensor([[1.0, -1.0], [0.0, 2.0]]), (2, 2)])],
    "argmin": [(lambda o, x: o.argmin(x, 1), lambda x: x.argmin(1), [torch.tensor([[2.0, -1.0, -1.0], [0.0, 5.0, 0.5]])])],
    "sort": [(lambda o, x: o.sort(x, 1, descending=True), lambda x: tuple(x.sort(dim=1, descending=True, stable=True)), [(3, 7)]),
             (lambda o, x: o.sort(x, 0), lambda x: tuple(x.sort(dim=0, stable=True)), [(6, 3)])],
    "cumprod": [(lambda o, x: o.cumprod(x, 1), lambda x: x.cumprod(1), [(3, 5, 2)]),
                (lambda o, x, z: o.cumprod(o.add(o.mul(x, o.full([], 0.0)), z), 1), lambda x, z: (0 * x + z).cumprod(1), [(3, 4), with_zeros])],
    "flip": [(lambda o, x: o.flip(x, [0, 2]), lambda x: x.flip(0, 2), [(2, 3, 4)]),
             (lambda o, x: o.flip(x, [-1]), lambda x: x.flip(-1), [(3, 2, 19)]), (lambda o, x: o.flip(x, [2, 0, 2]), lambda x: x.flip(0), [(2, 3, 4)])],
    "roll": [(lambda o, x: o.roll(x, 1, -3), lambda x: x.roll(-3, 1), [(2, 5, 3)]), (lambda o, x: o.roll(x, -1, 8), lambda x: x.roll(8, -1), [(40, 37)]),
             (lambda o, x: o.roll(x, 0, 12), lambda x: x.roll(12, 0), [(6, 3)])],
    "embedding_bag": [_bag("sum"), _bag("mean"), _bag("max"), _bag("sum", (6,))],
    "einsum": [_einsum("bnhd,bmhd->bhnm", (2, 3, 2, 5), (2, 4, 2, 5)), _einsum("bhnm, bmhd -> bnhd", (2, 2, 3, 4), (2, 4, 2, 5)),
               _einsum("ij,jk,kl", (2, 3), (3, 4), (4, 5)), _einsum("...ij,...jk->...ik", (2, 3, 4, 5), (2, 3, 5, 2)),
               _einsum("abc->ca", (2, 3, 4)), _einsum("i,j->ij", (3,), (4,)), _einsum("ij,ij->", (3, 4), (3, 4)), _einsum("bik,bj,bk->ij", (2, 3, 4), (2, 5), (2, 4))],
    "outer": [(lambda o, a, b: o.outer(a, b), lambda a, b: a[..., :, None] * b[..., None, :], [(2, 3), (2, 4)])],
    "norm": [(lambda o, x: o.norm(x, 1), lambda x: x.norm(dim=1), [(3, 5)]),
             (lambda o, x: o.norm(o.scale(x, 0.0), 1, keepdim=True), lambda x: (0 * x).norm(dim=1, keepdim=True), [(3, 5)])],
    "l2_normalise": [(lambda o, x: o.l2_normalise(x, 1), lambda x: F.normalize(x, dim=1), [(3, 5, 2)])],
    "cosine_similarity": [(lambda o, a, b: o.cosine_similarity(a, b, -1), lambda a, b: F.cosine_similarity(a, b, -1), [(3, 5), (2, 3, 5)])],
    "solve": [(lambda o, a, b: o.solve(o.add(a, torch.eye(4) * 5), b), lambda a, b: torch.linalg.solve(a + torch.eye(4).double() * 5, b), [(2, 3, 4, 4), (3, 4, 2)])],
    "triangle": [(lambda o: torch.from_numpy(o.triangle(3, 5, 1)), lambda: torch.ones(3, 5).tril(1).bool(), [])],
    **{"fft": [(lambda o, x, a=a, i=i: o.fft(x, a, inverse=i), lambda x, a=a, i=i: _pair((torch.fft.ifft if i else torch.fft.fft)(_complex(x), dim=a)), [shape])
               for a, i, shape in [(1, False, (2, 8, 3, 2)), (0, False, (15, 2)), (1, True, (2, 7, 2)), (0, True, (16, 3, 2)), (0, False, (1, 2))]]},
    "rfft": [(lambda o, x: o.rfft(x, 1), lambda x: _pair(torch.fft.rfft(x, dim=1)), [(2, n, 3)]) for n in (9, 12)],
    "irfft": [(lambda o, x: o.irfft(x, 1, 12), lambda x: torch.fft.irfft(_complex(x), 12, dim=1), [(2, 7, 3, 2)]),
              (lambda o, x: o.irfft(x, 0, 9), lambda x: torch.fft.irfft(_complex(x), 9, dim=0), [(5, 2)])],
    "complex_mul": [(lambda o, a, b: o.complex_mul(a, b), lambda a, b: _pair(_complex(a) * _complex(b)), [(3, 4, 2), (4, 2)]),
                    (lambda o, a, b: o.complex_mul(a, b, conjugate_a=True), lambda a, b: _pair(_complex(a).conj() * _complex(b)), [(3, 1, 2), (3, 4, 2)])],
    "dct": [_dct_case((2, n, 3), 1, ortho, False) for n, ortho in [(8, True), (7, True), (6, False), (1, True)]],
    "idct": [_dct_case((2, n, 3), 1, ortho, True) for n, ortho in [(8, True), (7, True), (6, False), (1, True)]],
    "gru_cell": [_recurrent("gru", 0)], "lstm_cell": [_recurrent("lstm", 0)],
    "gru": [_recurrent("gru", 5), _recurrent("gru", 4, True)], "lstm": [_recurrent("lstm", 5), _recurrent("lstm", 4, True)],
    "uniform": [(lambda o: torch.from_numpy(o.uniform([5, 6], 7, 3)), _uniform, [])],
    "normal": [(lambda o: torch.from_numpy(o.normal([5, 6], 7, 3)), _normal, [])],
    "gumbel": [(lambda o: torch.from_numpy(o.gumbel([5, 6], 7, 3)), _gumbel, [])],
    "permutation": [(lambda o: torch.from_numpy(o.permutation(20, 7, 3)), _permutation, [])],
}
