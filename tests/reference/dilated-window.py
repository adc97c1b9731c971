# SPDX-License-Identifier: Apache-2.0
"""dilated-window: every dilation-th key around the query. No weights.

Params: window=128 (an integer w: keys on each side, the query's own not counted), dilation=2 (d), causal=true; the rest as
common.py (its two-sided window is not there).
Visible: (p-j) % d == 0 and 0 <= p-j <= w*d if causal, else |p-j| <= w*d.
"""
from common import COMMON, attend, combined, io, qkv, run


def reference(params, inputs, weights):
    o = {**COMMON, "window": 128, "dilation": 2, "causal": True, **params}
    w, d = o.pop("window"), o.pop("dilation")
    return attend(**inputs, **o, visible=lambda p, j: (p - j) % d == 0 and abs(p - j) <= w * d)


run("dilated-window", reference, [
    ("", {"window": 3}, io(*qkv(40, N=9, M=13)), {}),
    ("defaults", {}, io(*qkv(41)), {}),
    ("both-sides", {"window": 2, "dilation": 3, "causal": False}, io(*qkv(42, N=9, M=13)), {}),
    ("dense", {"window": 2, "dilation": 1}, io(*qkv(43, N=6, M=6)), {}),
] + combined(44, window=None, more={"window": 2, "dilation": 2}, causal=False), "dilated window")
