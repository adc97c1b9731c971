# SPDX-License-Identifier: Apache-2.0
"""differential-attention: the difference of two softmax maps (Ye et al. 2024).

Inputs   q (B,N,2H,D), k (B,M,2G,D), v (B,M,G,E) f32; bias, mask, key_lengths, query_lengths as common.py (H axis: the pair's).
Heads    pair h reads g = h // (H/G): A1 is q head 2h on k head 2g, A2 q head 2h+1 on k head 2g+1, both on v head g.
Weights  lambda_q1, lambda_k1, lambda_q2, lambda_k2 (D), subln.weight (E).
Params   layer_idx=0, causal=true; window, scale, softcap as common.py. The weighting is softmax.
lambda   exp(lambda_q1.lambda_k1) - exp(lambda_q2.lambda_k2) + lambda_init, lambda_init = 0.8 - 0.6 exp(-0.3 layer_idx).
Output   out (B,N,H,E) only: x = (A1 - lambda A2) v; x / sqrt(mean(x^2) + 1e-5) * subln.weight * (1 - lambda_init).
"""
import math

import numpy as np
import torch

from common import COMMON, attend, combined, io, rand, run


def reference(params, inputs, weights):
    o = {**COMMON, "causal": True, "layer_idx": 0, **params}
    start = 0.8 - 0.6 * math.exp(-0.3 * o.pop("layer_idx"))
    whole = torch.is_tensor(inputs["q"])
    w = weights if whole else {n: a.astype(np.float64) for n, a in weights.items()}
    exp = torch.exp if whole else math.exp
    lam = exp(w["lambda_q1"] @ w["lambda_k1"]) - exp(w["lambda_q2"] @ w["lambda_k2"]) + start
    q, k = inputs.pop("q"), inputs.pop("k")
    one = attend(q[:, :, 0::2], k[:, :, 0::2], **inputs, **o)[2]
    two = attend(q[:, :, 1::2], k[:, :, 1::2], **inputs, **o)[2]
    if whole:
        v = inputs["v"].repeat_interleave(one.shape[1] // inputs["v"].shape[2], 2)
        x = torch.einsum("bhij,bjhe->bihe", one - lam * two, v)
        return x / ((x * x).mean(-1, keepdim=True) + 1e-5) ** 0.5 * w["subln.weight"] * (1 - start)
    v = inputs["v"].astype(np.float64)
    B, H, N, M = one.shape
    out = np.zeros((B, N, H, v.shape[3]))
    for b in range(B):
        for h in range(H):
            for i in range(N):
                x = (one[b, h, i] - lam * two[b, h, i]) @ v[b, :, h // (H // v.shape[2])]
                out[b, i, h] = x / math.sqrt((x * x).mean() + 1e-5) * w["subln.weight"] * (1 - start)
    return out


def widths(seed, B, N, M, H, G, D, E):
    """Inputs and weights of the combined case."""
    _, _, inputs, w = case("", seed, {}, B, N, M, H, G, D, E)
    return {"qkv": [inputs[n] for n in "qkv"], "weights": w}


def case(name, seed, params, B=2, N=5, M=9, H=4, G=2, D=8, E=6, **more):
    w = {n: rand([seed, 4, t], D, std=0.3) for t, n in enumerate(("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"))}
    w["subln.weight"] = 1 + rand([seed, 5], E, std=0.3)
    return (name, params, io(rand([seed, 0], B, N, 2 * H, D, std=1.5), rand([seed, 1], B, M, 2 * G, D),
                             rand([seed, 2], B, M, G, E), **more), w)


run("differential-attention", reference, [
    case("", 120, {}),
    case("layer", 121, {"layer_idx": 7}, H=6, G=2),
    case("both-sides", 122, {"causal": False, "layer_idx": 2}, H=2, G=2),
    case("more-queries", 123, {}, N=7, M=4),
    case("lengths", 124, {"layer_idx": 1}, key_lengths=np.array([7, 9], np.int64)),
] + combined(125, sinks=False, slopes=False, weightings=(), layer_idx=3, **widths(125, 3, 5, 8, 6, 3, 10, 7)), "difference of two maps")
