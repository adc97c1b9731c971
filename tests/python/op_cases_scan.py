# SPDX-License-Identifier: Apache-2.0
"""Scans, token by token in torch: see op_cases_base.py."""
import torch


def _scan(q, k, v, g, beta, start):
    state, outs = start, []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None] * state
        kt = k[:, t].repeat_interleave(2, 1)
        u = beta[:, t, :, None] * (v[:, t].repeat_interleave(2, 1) - torch.einsum("bhd,bhde->bhe", kt, state))
        state = state + kt[..., None] * u[..., None, :]
        outs.append(0.5 * torch.einsum("bhd,bhde->bhe", q[:, t], state))
    return torch.stack(outs, 1), state


def _call(o, q, k, v, g, beta, start):
    out, _, final, _ = o.scan(q, k, v, g, beta, start, scale=0.5, return_final=True)
    return out, final


def _recurrence(a, b):
    x, all_x = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        x = a[:, t] * x + b[:, t]
        all_x.append(x)
    return torch.stack(all_x, 1)


CASES = {
    "scan": [(_call, _scan, [(2, 5, 4, 3), ((2, 5, 2, 3), -0.6, 0.6), (2, 5, 2, 6), ((2, 5, 4, 3), -1.0, 0.0), ((2, 5, 4), 0.0, 1.0), (2, 4, 3, 6)])],
    "recurrence": [(lambda o, a, b: o.recurrence(a, b, 1), _recurrence, [((2, 6, 1), 0.0, 1.0), (2, 6, 3)]),
                   (lambda o, a, b: o.recurrence(a, b, 1, reverse=True), lambda a, b: _recurrence(a.flip(1), b.flip(1)).flip(1), [((2, 6, 3), 0.0, 1.0), (2, 6, 3)])],
    "cummax": [(lambda o, x: o.cummax(x, 1), lambda x: x.cummax(1).values, [(2, 6, 3)])],
}
