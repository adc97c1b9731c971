# SPDX-License-Identifier: Apache-2.0
"""alibi: score - slope_h * |p-j|. No weights; without the input alibi_slopes the slopes are computed.

Slopes: n = the largest power of two <= H; slope_h = 2^(-8(h+1)/n) for h < n; the others are every second slope of the series
of 2n, from its first: slope_{n+r} = 2^(-8(2r+1)/(2n)).
Params: causal=true; the rest as common.py.
"""
import numpy as np

from common import COMMON, attend, combined, io, qkv, run


def slopes(H):
    n = 1
    while 2 * n <= H:
        n *= 2
    return np.array([2.0 ** (-8 * (h + 1) / n) for h in range(n)] + [2.0 ** (-8 * (2 * r + 1) / (2 * n)) for r in range(H - n)])


def reference(params, inputs, weights):
    inputs.setdefault("alibi_slopes", slopes(inputs["q"].shape[2]))
    return attend(**inputs, **{**COMMON, "causal": True, **params})


run("alibi", reference, [
    ("", {}, io(*qkv(60)), {}),
    ("six-heads", {}, io(*qkv(61, H=6, G=2)), {}),
    ("both-sides", {"causal": False}, io(*qkv(62, H=3, G=1)), {}),
] + combined(63, slopes=False) + [("given-slopes", {}, io(*qkv(64), alibi_slopes=np.array([0.5, -0.25, 0, 1], np.float32)), {})], "linear biases")
