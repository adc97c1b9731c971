# SPDX-License-Identifier: Apache-2.0
"""qk-norm: q and k normalised over D, per head, before the scores.

rms: x / sqrt(mean(x^2) + eps) * weight, weights q_norm.weight (D) and k_norm.weight (D); scale null = 1/sqrt(D).
l2:  x / max(||x||, eps), no weights; scale null = 10.
Params: norm="rms"|"l2", eps=1e-6; the rest as common.py.
"""
import numpy as np

from common import COMMON, attend, io, qkv, rand, run


def reference(params, inputs, weights):
    o = {**COMMON, "norm": "rms", "eps": 1e-6, **params}
    norm, eps = o.pop("norm"), o.pop("eps")
    if norm == "l2" and o["scale"] is None:
        o["scale"] = 10.0
    for n in "qk":
        x = inputs[n].astype(np.float64)
        if norm == "rms":
            y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weights[n + "_norm.weight"].astype(np.float64)
        else:
            assert norm == "l2" and not weights
            y = x / np.maximum(np.sqrt((x * x).sum(-1, keepdims=True)), eps)
        inputs[n] = y
    return attend(**inputs, **o)


def norms(seed, D=8):
    return {"q_norm.weight": 1 + rand([seed, 8], D, std=0.3), "k_norm.weight": 1 + rand([seed, 9], D, std=0.3)}


run("qk-norm", reference, [
    ("", {}, io(*qkv(110)), norms(110)),
    ("causal", {"causal": True, "eps": 0.1}, io(*qkv(111)), norms(111)),
    ("l2", {"norm": "l2"}, io(*qkv(112)), {}),
    ("l2-scale", {"norm": "l2", "scale": 4.0, "causal": True}, io(*qkv(113, N=7, M=4)), {}),
], "normalised queries and keys")
