# SPDX-License-Identifier: Apache-2.0
"""t5-bias: a learned bias for each bucket of relative positions r = j - p, added to the scores.

Weight: relative_attention_bias.weight (num_buckets, H).
Params: num_buckets=32, max_distance=128, bidirectional=false, scale=1.0, causal=true; the rest as common.py.
Bucket: n = num_buckets; bidirectional: n = n/2, start = n if r > 0 else 0, d = |r|; otherwise start = 0, d = max(-r, 0).
  e = n/2 (floor); d < e: start + d; else start + min(e + floor(ln(d/e) / ln(max_distance/e) * (n-e)), n-1).
  The floor is taken exactly here, in integers; the cases hold no d at which a float32 evaluation gives another bucket.
"""
import math

import numpy as np
import torch

from common import COMMON, attend, combined, io, qkv, rand, run


def bucket(r, n, max_distance, bidirectional):
    start = 0
    if bidirectional:
        n //= 2
        start, d = (n if r > 0 else 0), abs(r)
    else:
        d = max(-r, 0)
    e = n // 2
    if d < e:
        return start + d
    L, step = n - e, 0
    # ln(d/e) / ln(m/e) * L >= s  <=>  d^L * e^s >= m^s * e^L
    while step + 1 <= L and d ** L * e ** (step + 1) >= max_distance ** (step + 1) * e ** L:
        step += 1
    f = np.float32(np.log(np.float32(d) / np.float32(e))) / np.float32(math.log(max_distance / e)) * np.float32(L)
    assert min(int(f), L) == step, (d, f, step)
    return start + min(e + step, n - 1)


def reference(params, inputs, weights):
    o = {**COMMON, "num_buckets": 32, "max_distance": 128, "bidirectional": False, "scale": 1.0, "causal": True, **params}
    table = weights["relative_attention_bias.weight"]
    n, m, both = o.pop("num_buckets"), o.pop("max_distance"), o.pop("bidirectional")
    (B, N, H, _), M = inputs["q"].shape, inputs["k"].shape[1]
    assert table.shape == (n, H)
    bias = table.new_zeros(B, H, N, M) if torch.is_tensor(table) else np.zeros((B, H, N, M))
    for b in range(B):
        Mb = int(inputs["key_lengths"][b]) if "key_lengths" in inputs else M
        Nb = int(inputs["query_lengths"][b]) if "query_lengths" in inputs else N
        for i in range(N):
            for j in range(M):
                bias[b, :, i, j] = table[bucket(j - (i + Mb - Nb), n, m, both)]
    if "bias" in inputs:
        bias = bias + inputs.pop("bias")
    return attend(**inputs, **o, bias=bias)


def table(seed, n, H):
    return {"relative_attention_bias.weight": rand([seed, 9], n, H)}


run("t5-bias", reference, [
    ("", {}, io(*qkv(80, N=6, M=30)), table(80, 32, 4)),
    ("few-buckets", {"num_buckets": 8, "max_distance": 19}, io(*qkv(81, N=9, M=26)), table(81, 8, 4)),
    ("bidirectional", {"bidirectional": True, "causal": False, "num_buckets": 12, "max_distance": 17},
     io(*qkv(82, N=12, M=21)), table(82, 12, 4)),
    ("scale", {"scale": 0.25, "num_buckets": 8, "max_distance": 19}, io(*qkv(83)), table(83, 8, 4)),
    ("more-queries", {"bidirectional": True, "causal": False, "num_buckets": 12, "max_distance": 17},
     io(*qkv(84, N=10, M=5)), table(84, 12, 4)),
] + combined(85, bidirectional=True, num_buckets=10, max_distance=7, weights=table(85, 10, 6))
  + [("combined-one-way", *combined(86, num_buckets=6, max_distance=5, weights=table(86, 6, 6))[0][1:])], "T5's relative position bias")
