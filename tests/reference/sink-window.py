# SPDX-License-Identifier: Apache-2.0
"""sink-window: the first keys, always, and a window behind the query (StreamingLLM's pattern). No weights.

Params: sinks=4, window=[1023,0] (-1: no limit), causal=true; the rest as common.py.
Visible: j <= p, or without causal j <= p+right, and j < sinks or p-j <= left. The optional input `sink` (a logit) is another thing.
"""
from common import COMMON, attend, combined, io, qkv, run


def reference(params, inputs, weights):
    o = {**COMMON, "sinks": 4, "causal": True, "window": [1023, 0], **params}
    sinks, (left, right) = o.pop("sinks"), o.pop("window")
    return attend(**inputs, **o, window=[-1, right], visible=lambda p, j: j < sinks or left < 0 or p - j <= left)


run("sink-window", reference, [
    ("", {"sinks": 2, "window": [3, 0]}, io(*qkv(30, N=9, M=14)), {}),
    ("defaults", {}, io(*qkv(31)), {}),
    ("four", {"window": [2, 0]}, io(*qkv(32, N=12, M=12)), {}),
    ("no-sinks", {"sinks": 0, "window": [2, 0]}, io(*qkv(33, N=7, M=10)), {}),
] + combined(34, window=(2, 0), more={"sinks": 1}) + [
    ("both-sides", {"sinks": 2, "window": [2, 3], "causal": False}, io(*qkv(36, N=9, M=14)), {}),
    ("no-limit", {"sinks": 1, "window": [-1, 2], "causal": False}, io(*qkv(37, N=9, M=6)), {})], "first keys and a window")
