# SPDX-License-Identifier: Apache-2.0
"""qk-norm: q and k normalised over D, per head, before the scores.

rms: x / sqrt(mean(x^2) + eps) * weight, weights q_norm.weight (D) and k_norm.weight (D); scale null = 1/sqrt(D).
l2:  x / max(||x||, eps), no weights; scale null = 10.
Params: norm="rms"|"l2", eps=1e-6; the rest as common.py.
"""
import numpy as np
import torch

from common import COMMON, attend, combined, io, qkv, rand, run


def reference(params, inputs, weights):
    o = {**COMMON, "norm": "rms", "eps": 1e-6, **params}
    norm, eps = o.pop("norm"), o.pop("eps")
    if norm == "l2" and o["scale"] is None:
        o["scale"] = 10.0
    for n in "qk":
        x = inputs[n]
        x = x if torch.is_tensor(x) else x.astype(np.float64)
        if norm == "rms":
            y = x / ((x * x).mean(-1, keepdims=True) + eps) ** 0.5 * weights[n + "_norm.weight"]
        else:
            assert norm == "l2" and not weights
            size = (x * x).sum(-1, keepdims=True) ** 0.5
            y = x / (size.clamp(min=eps) if torch.is_tensor(x) else np.maximum(size, eps))
        inputs[n] = y
    return attend(**inputs, **o)


def norms(seed, D=8):
    return {"q_norm.weight": 1 + rand([seed, 8], D, std=0.3), "k_norm.weight": 1 + rand([seed, 9], D, std=0.3)}


run("qk-norm", reference, [
    ("", {}, io(*qkv(110)), norms(110)),
    ("causal", {"causal": True, "eps": 0.1}, io(*qkv(111)), norms(111)),
    ("l2", {"norm": "l2"}, io(*qkv(112)), {}),
    ("l2-scale", {"norm": "l2", "scale": 4.0, "causal": True}, io(*qkv(113, N=7, M=4)), {}),
] + combined(114, weights=norms(114, 10), eps=0.02) + [("combined-l2" + name[8:], p, i, {}) for name, p, i, _ in combined(115, norm="l2", eps=2.0, weightings=("sigmoid",))], "normalised queries and keys")
