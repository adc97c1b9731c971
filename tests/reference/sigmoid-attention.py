# SPDX-License-Identifier: Apache-2.0
"""sigmoid-attention: one matrix of scores; keys and values repeated for their query heads."""
import math

import numpy as np
import torch

from autograd import draw, run


def reference(p, inputs, w):
    q, k, v = (inputs[n].transpose(1, 2) for n in "qkv")
    H, N, D, M = q.shape[1], q.shape[2], q.shape[3], k.shape[2]
    k, v = (x.repeat_interleave(H // x.shape[1], 1) for x in (k, v))
    at, j = torch.arange(N)[:, None] + M - N, torch.arange(M)
    s = q @ k.transpose(2, 3) / math.sqrt(D) + p.get("sigmoid_bias", -math.log(M))
    if p.get("alibi"):
        s = s - inputs["alibi_slopes"][:, None, None] * (at - j).clamp(min=0)
    left, right = p.get("window_size", (-1, -1))
    hidden = torch.zeros(N, M, dtype=torch.bool)
    if p.get("causal"):
        hidden |= j > at
    if left >= 0:
        hidden |= j < at - left
    if right >= 0:
        hidden |= j > at + right
    m = s.sigmoid().masked_fill(hidden, 0)
    return {"out": (m @ v).transpose(1, 2), "weights": m}


def case(name, seed, B=2, N=5, M=9, H=4, G=2, D=6, **p):
    inputs = draw(seed, q=(B, N, H, D), k=(B, M, G, D), v=(B, M, G, D))
    if p.get("alibi"):
        inputs["alibi_slopes"] = np.random.default_rng(seed + 90).uniform(0.05, 0.6, H).astype(np.float32)
    return name, p, inputs, {}


run("sigmoid-attention", reference, [
    case("window", 1, window_size=[2, 1]), case("causal-window", 2, N=7, M=4, causal=True, window_size=[3, -1]), case("right-window", 3, window_size=[-1, 2], sigmoid_bias=-0.5),
    case("alibi-causal", 4, N=5, M=8, causal=True, alibi=True, num_heads=4, num_kv_heads=2, head_dim=6), case("alibi-both-sides", 5, N=7, M=7, G=1, alibi=True),
    case("alibi-window", 6, N=6, M=9, G=4, alibi=True, window_size=[4, 1], sigmoid_bias=-7.62), case("alibi-no-later-keys", 7, alibi=True, window_size=[-1, 0]),
    case("one-key", 8, B=1, N=3, M=1, H=1, G=1, D=5)], "the whole matrix of scores")
