# SPDX-License-Identifier: Apache-2.0
"""The shared part of the references: one query row at a time, its set of visible keys, float64.

Inputs   q (B,N,H,D), k (B,M,G,D), v (B,M,G,E) f32; query head h reads key/value head h // (H/G).
Optional bias f32 and mask bool (true: may look), both broadcastable to (B,H,N,M); alibi_slopes f32 (H); sink f32 (H);
         key_lengths i64 (B), query_lengths i64 (B).
Outputs  out (B,N,H,E), lse (B,H,N), weights (B,H,N,M), f32.
Params   causal=false, window=[-1,-1], scale=null (1/sqrt(D)), softcap=0, weighting="softmax".
Position query i stands at p = i + Mb - Nb (Mb, Nb: the sequence's lengths, else M and N).
Visible  j < Mb, and causal: j <= p, and window: p-left <= j <= p+right (-1: no limit), and mask.
Score    s = scale * q.k; softcap c > 0: s = c*tanh(s/c); s += bias; s -= slope*|p-j|.
Weights  softmax e^s / (sum e^s + e^sink if there is a sink); softmax_plus_one e^s / (1 + sum e^s);
         sigmoid 1/(1+e^-s); relu max(s,0)/Mb. Keys that are not visible weigh 0.
lse      log of the denominator. A row without keys, or i >= Nb, gives out 0 and weights 0.
A case omits out.lse for sigmoid and relu, with query_lengths, and where some value of it is -inf.
"""
import math
import os
import sys

import numpy as np

from casefile import write_case

COMMON = dict(causal=False, window=[-1, -1], scale=None, softcap=0.0, weighting="softmax")


def attend(q, k, v, *, causal=False, window=(-1, -1), scale=None, softcap=0.0, weighting="softmax", bias=None, mask=None,
           alibi_slopes=None, sink=None, key_lengths=None, query_lengths=None,
           visible=None, key_add=None, value_add=None):
    """visible(p, j): further condition; key_add(p, j), value_add(p, j): vectors added to k_j and v_j for this pair."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    B, N, H, D = q.shape
    M, G, E = k.shape[1], k.shape[2], v.shape[3]
    assert H % G == 0 and v.shape[:3] == k.shape[:3]
    if scale is None:
        scale = 1.0 / math.sqrt(D)
    if bias is not None:
        bias = np.broadcast_to(np.asarray(bias, np.float64), (B, H, N, M))
    if mask is not None:
        mask = np.broadcast_to(mask, (B, H, N, M))
    out, lse, weights = np.zeros((B, N, H, E)), np.full((B, H, N), -np.inf), np.zeros((B, H, N, M))
    for b in range(B):
        Mb = M if key_lengths is None else int(key_lengths[b])
        Nb = N if query_lengths is None else int(query_lengths[b])
        for h in range(H):
            g = h // (H // G)
            for i in range(Nb):
                p = i + Mb - Nb
                keys, scores = [], []
                for j in range(Mb):
                    if causal and j > p:
                        continue
                    if window[0] >= 0 and j < p - window[0] or window[1] >= 0 and j > p + window[1]:
                        continue
                    if visible is not None and not visible(p, j):
                        continue
                    if mask is not None and not mask[b, h, i, j]:
                        continue
                    key = k[b, j, g] if key_add is None else k[b, j, g] + key_add(p, j)
                    s = scale * math.fsum(q[b, i, h] * key)
                    if softcap:
                        s = softcap * math.tanh(s / softcap)
                    if bias is not None:
                        s += bias[b, h, i, j]
                    if alibi_slopes is not None:
                        s -= float(alibi_slopes[h]) * abs(p - j)
                    keys.append(j)
                    scores.append(s)
                if weighting in ("softmax", "softmax_plus_one"):
                    more = [] if sink is None else [float(sink[h])]
                    if weighting == "softmax_plus_one":
                        assert sink is None
                        more = [0.0]
                    if scores + more:
                        top = max(scores + more)
                        total = math.fsum(math.exp(s - top) for s in scores + more)
                        lse[b, h, i] = top + math.log(total)
                    row = [math.exp(s - lse[b, h, i]) for s in scores]
                    extra = math.fsum(math.exp(s - lse[b, h, i]) for s in more)
                    assert not row or abs(math.fsum(row) + extra - 1) < 1e-12
                elif weighting == "sigmoid":
                    row = [1 / (1 + math.exp(-s)) for s in scores]
                elif weighting == "relu":
                    row = [max(s, 0.0) / Mb for s in scores]
                else:
                    raise ValueError(weighting)
                for j, w in zip(keys, row):
                    weights[b, h, i, j] = w
                    out[b, i, h] += w * (v[b, j, g] if value_add is None else v[b, j, g] + value_add(p, j))
    return out, lse, weights


def rand(seed, *shape, std=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def qkv(seed, B=2, N=5, M=9, H=4, G=2, D=8, E=6):
    return rand([seed, 0], B, N, H, D, std=1.5), rand([seed, 1], B, M, G, D), rand([seed, 2], B, M, G, E)


def run(slug, reference, cases, note):
    """cases: (name or "", params, inputs, weights). reference(params, inputs, weights) -> out, lse, weights (or out)."""
    outdir = sys.argv[1]
    os.makedirs(outdir, exist_ok=True)
    for name, params, inputs, weights in cases:
        result = reference(dict(params), dict(inputs), dict(weights))
        outs = {}
        if isinstance(result, tuple):
            outs["out"], lse, outs["weights"] = result
            if params.get("weighting") not in ("sigmoid", "relu") and "query_lengths" not in inputs and np.isfinite(lse).all():
                outs["lse"] = lse
        else:
            outs["out"] = result
        tensors = {"in." + n: a for n, a in inputs.items()}
        tensors.update({"weight." + n: a for n, a in weights.items()})
        for n, a in outs.items():
            assert np.isfinite(a).all(), (slug, name, n)
            tensors["out." + n] = a.astype(np.float32)
        assert np.abs(outs["out"]).max() > 1e-3
        path = os.path.join(outdir, slug + ("--" + name if name else "") + ".safetensors")
        write_case(path, slug, params, tensors, "tests/reference/%s.py" % slug, note + (" [" + name + "]" if name else ""))


def io(q, k, v, **more):
    return dict(q=q, k=k, v=v, **more)


def preset(fixed=None, **defaults):
    """A reference that is attend() under other defaults; fixed options cannot be given."""
    def reference(params, inputs, weights):
        assert not weights and not (fixed and set(fixed) & set(params))
        return attend(**inputs, **{**COMMON, **defaults, **(fixed or {}), **params})
    return reference
