# SPDX-License-Identifier: Apache-2.0
"""sink-window: the first keys, always, and a window behind the query (StreamingLLM's pattern). No weights.

Params: sinks=4, window=[1023,0] (only left counts; -1: no limit); the rest as common.py, without causal: always causal.
Visible: j <= p and (j < sinks or p-j <= left). The optional input `sink` (a logit) is another thing.
"""
from common import COMMON, attend, io, qkv, run


def reference(params, inputs, weights):
    o = {**COMMON, "sinks": 4, "window": [1023, 0], **params}
    assert o.pop("causal") is False
    sinks, (left, _) = o.pop("sinks"), o.pop("window")
    return attend(**inputs, **o, causal=True, visible=lambda p, j: j < sinks or left < 0 or p - j <= left)


run("sink-window", reference, [
    ("", {"sinks": 2, "window": [3, 0]}, io(*qkv(30, N=9, M=14)), {}),
    ("defaults", {}, io(*qkv(31)), {}),
    ("four", {"window": [2, 0]}, io(*qkv(32, N=12, M=12)), {}),
    ("no-sinks", {"sinks": 0, "window": [2, 0]}, io(*qkv(33, N=7, M=10)), {}),
], "first keys and a window")
