# SPDX-License-Identifier: Apache-2.0
"""shaw: relative position vectors added to keys and values; score scale * q.(k_j + a_c), out sum w (v_j + b_c).

Weights: key_table (2*max_distance+1, D), value_table (2*max_distance+1, E), shared by the heads.
c = clip(j - p, -max_distance, max_distance) + max_distance.
Params: max_distance=16 (m); the rest as common.py.
"""
import numpy as np
import torch

from common import COMMON, attend, combined, io, qkv, rand, run


def reference(params, inputs, weights):
    o = {**COMMON, "max_distance": 16, **params}
    m = o.pop("max_distance")
    a, b = (weights[n] if torch.is_tensor(weights[n]) else weights[n].astype(np.float64) for n in ("key_table", "value_table"))
    assert len(a) == len(b) == 2 * m + 1

    def row(p, j):
        return min(max(j - p, -m), m) + m
    return attend(**inputs, **o, key_add=lambda p, j: a[row(p, j)], value_add=lambda p, j: b[row(p, j)])


def tables(seed, m, D=8, E=6):
    return dict(key_table=rand([seed, 8], 2 * m + 1, D), value_table=rand([seed, 9], 2 * m + 1, E))


run("shaw", reference, [
    ("", {"max_distance": 3}, io(*qkv(90)), tables(90, 3)),
    ("defaults", {}, io(*qkv(91)), tables(91, 16)),
    ("causal", {"max_distance": 2, "causal": True}, io(*qkv(92, H=6, G=3)), tables(92, 2)),
    ("more-queries", {"max_distance": 2}, io(*qkv(93, N=7, M=4)), tables(93, 2)),
] + combined(94, max_distance=2, weights=tables(94, 2, D=10, E=7)), "relative position vectors")
