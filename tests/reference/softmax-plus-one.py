# SPDX-License-Identifier: Apache-2.0
"""softmax-plus-one: weights exp(s) / (1 + sum exp(s)), lse = log(1 + sum exp(s)). No weights, no input `sink`.

Params: as common.py without weighting.
"""
from common import combined, io, preset, qkv, run

run("softmax-plus-one", preset(fixed={"weighting": "softmax_plus_one"}), [
    ("", {}, io(*qkv(50)), {}),
    ("causal", {"causal": True}, io(*qkv(51)), {}),
    ("more-queries", {"causal": True}, io(*qkv(52, N=7, M=4)), {}),
] + combined(53, sinks=False, weightings=()), "softmax with one more in the denominator")
