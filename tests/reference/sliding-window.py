# SPDX-License-Identifier: Apache-2.0
"""sliding-window: keys with p-left <= j <= p+right only. No weights.

Params: window=[1023,0] (-1: no limit), causal=true; the rest as common.py.
"""
from common import combined, io, preset, qkv, run

run("sliding-window", preset(window=[1023, 0], causal=True), [
    ("", {"window": [3, 0]}, io(*qkv(20, N=8, M=11)), {}),
    ("defaults", {}, io(*qkv(21)), {}),
    ("both-sides", {"window": [2, 3], "causal": False}, io(*qkv(22, N=8, M=11)), {}),
    ("itself", {"window": [0, 0]}, io(*qkv(23, N=6, M=6)), {}),
] + combined(24, causal=False), "sliding window")
