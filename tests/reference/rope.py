# SPDX-License-Identifier: Apache-2.0
"""rope: rotary positions on q and k (keys at j, queries at p = i + Mb - Nb), then attention. No weights.

Params: base=10000, rotary_dim=null (R; null: D; even; the first R components turn, the others stay), layout="half"|"interleaved",
scaling="none"|"linear"|"ntk"|"yarn", factor=1, original_length=2048 (yarn), causal=true; the rest as common.py.
Pairs     t = 0..R/2-1: half (t, t+R/2); interleaved (2t, 2t+1). (a, b) -> (a cos - b sin, b cos + a sin), angle = pos * f_t.
f_t       none: base^(-2t/R). linear: that of none / factor. ntk: base' = base * factor^(R/(R-2)) in its place (R > 2).
yarn      (Peng et al. 2023, "NTK-by-parts") turns r = original_length * f_t / (2 pi); g = clip((r - 1) / (32 - 1), 0, 1);
          f_t' = f_t * g + f_t / factor * (1 - g); cos and sin of q's and k's rotations times 0.1 ln(factor) + 1.
          beta_fast = 32 and beta_slow = 1 are fixed. The ramp is the paper's, linear in the turns r; the ramp of common model
          code is linear in the pair's index t instead, and gives other numbers.
"""
import math

import numpy as np
import torch

from common import COMMON, attend, combined, io, qkv, run


def frequencies(R, base, scaling, factor, original_length):
    """f_t and what cos and sin are multiplied by."""
    if scaling == "ntk":
        base = base * factor ** (R / (R - 2))
    f = np.array([base ** (-2 * t / R) for t in range(R // 2)])
    if scaling == "linear":
        return f / factor, 1.0
    if scaling == "yarn":
        g = np.clip((original_length * f / (2 * math.pi) - 1) / (32 - 1), 0, 1)
        return f * g + f / factor * (1 - g), 0.1 * math.log(factor) + 1
    assert scaling in ("none", "ntk")
    return f, 1.0


def turn(x, pos, R, layout, f, m):
    if torch.is_tensor(x):  # as a matrix
        eye = np.eye(len(x))
        return torch.tensor(np.array([turn(e, pos, R, layout, f, m) for e in eye])).T @ x
    y = x.copy()
    for t in range(R // 2):
        a, b = {"half": (t, t + R // 2), "interleaved": (2 * t, 2 * t + 1)}[layout]
        c, s = m * math.cos(pos * f[t]), m * math.sin(pos * f[t])
        y[a], y[b] = x[a] * c - x[b] * s, x[b] * c + x[a] * s
    return y


def reference(params, inputs, weights):
    o = {**COMMON, "causal": True, "base": 10000.0, "rotary_dim": None, "layout": "half", "scaling": "none", "factor": 1.0,
         "original_length": 2048, **params}
    q, k = (inputs.pop(n) for n in "qk")
    q, k = (x.clone() if torch.is_tensor(x) else x.astype(np.float64) for x in (q, k))
    (B, N, H, D), M = q.shape, k.shape[1]
    R, layout = o.pop("rotary_dim") or D, o.pop("layout")
    f, m = frequencies(R, o.pop("base"), o.pop("scaling"), o.pop("factor"), o.pop("original_length"))
    for b in range(B):
        Mb = int(inputs["key_lengths"][b]) if "key_lengths" in inputs else M
        Nb = int(inputs["query_lengths"][b]) if "query_lengths" in inputs else N
        for i in range(N):
            for h in range(H):
                q[b, i, h] = turn(q[b, i, h].clone() if torch.is_tensor(q) else q[b, i, h], i + Mb - Nb, R, layout, f, m)
        for j in range(M):
            for g in range(k.shape[2]):
                k[b, j, g] = turn(k[b, j, g].clone() if torch.is_tensor(k) else k[b, j, g], j, R, layout, f, m)
    return attend(q, k, **inputs, **o)


run("rope", reference, [
    ("", {}, io(*qkv(70)), {}),
    ("interleaved", {"layout": "interleaved"}, io(*qkv(71)), {}),
    ("partial", {"rotary_dim": 4, "base": 500.0}, io(*qkv(72)), {}),
    ("partial-interleaved", {"rotary_dim": 6, "layout": "interleaved", "causal": False}, io(*qkv(73)), {}),
    ("linear", {"scaling": "linear", "factor": 4.0}, io(*qkv(74)), {}),
    ("ntk", {"scaling": "ntk", "factor": 4.0}, io(*qkv(75)), {}),
    ("yarn", {"scaling": "yarn", "factor": 4.0, "original_length": 64, "base": 100.0}, io(*qkv(76, D=16)), {}),
    ("yarn-default-length", {"scaling": "yarn", "factor": 8.0}, io(*qkv(77, D=16)), {}),
    ("more-queries", {"causal": False}, io(*qkv(78, N=7, M=4)), {}),
    ("lengths", {}, io(*qkv(79), key_lengths=np.array([6, 9], np.int64)), {}),
] + combined(65, rotary_dim=6, base=300.0, causal=False)
  + [("combined-yarn-interleaved", *combined(66, scaling="yarn", factor=3.0, original_length=100, base=50.0, layout="interleaved")[0][1:]),
     ("combined-linear-partial", *combined(67, scaling="linear", factor=2.5, rotary_dim=2)[0][1:]),
     ("combined-ntk-partial", *combined(68, scaling="ntk", factor=2.5, rotary_dim=4)[0][1:])], "rotary positions")
