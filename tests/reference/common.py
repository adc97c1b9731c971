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
Gradients come from a second form, whole tensors in torch, whose values are compared with the rows'.
"""
import math
import os
import sys

import numpy as np
import torch

from casefile import write_case

COMMON = dict(causal=False, window=[-1, -1], scale=None, softcap=0.0, weighting="softmax")


def attend(q, k, v, *, causal=False, window=(-1, -1), scale=None, softcap=0.0, weighting="softmax", bias=None, mask=None,
           alibi_slopes=None, sink=None, key_lengths=None, query_lengths=None,
           visible=None, key_add=None, value_add=None):
    """visible(p, j): further condition; key_add(p, j), value_add(p, j): vectors added to k_j and v_j for this pair."""
    if any(torch.is_tensor(x) for x in (q, k, v, bias)):
        return attend_whole(**locals())
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


def attend_whole(q, k, v, causal, window, scale, softcap, weighting, bias, mask, alibi_slopes, sink, key_lengths, query_lengths,
                 visible, key_add, value_add):
    """The same on torch tensors at once."""
    q, k, v = (torch.as_tensor(x, dtype=torch.float64) for x in (q, k, v))
    (B, N, H, D), M = q.shape, k.shape[1]
    k, v = (x.repeat_interleave(H // x.shape[2], 2) for x in (k, v))
    Mb = torch.full((B,), M) if key_lengths is None else torch.as_tensor(key_lengths)
    Nb = torch.full((B,), N) if query_lengths is None else torch.as_tensor(query_lengths)
    i, j = torch.arange(N), torch.arange(M)
    p = (i + (Mb - Nb)[:, None])[:, :, None].expand(B, N, M)
    seen = (j < Mb[:, None, None]) & (i < Nb[:, None])[:, :, None]
    if causal:
        seen = seen & (j <= p)
    seen = seen & ((j >= p - window[0]) | (window[0] < 0)) & ((j <= p + window[1]) | (window[1] < 0))
    if visible is not None:
        seen = seen & torch.tensor([[[bool(visible(int(p[b, t, 0]), s)) for s in range(M)] for t in range(N)] for b in range(B)])
    seen = seen[:, None].expand(B, H, N, M)
    if mask is not None:
        seen = seen & torch.as_tensor(mask)

    def added(vectors):
        return torch.stack([torch.stack([torch.stack([vectors(int(p[b, t, 0]), s) for s in range(M)]) for t in range(N)]) for b in range(B)])
    s = torch.einsum("bihd,bjhd->bhij", q, k)
    if key_add is not None:
        s = s + torch.einsum("bihd,bijd->bhij", q, added(key_add))
    s = s * (1 / math.sqrt(D) if scale is None else scale)
    if softcap:
        s = softcap * torch.tanh(s / softcap)
    if bias is not None:
        s = s + torch.as_tensor(bias)
    if alibi_slopes is not None:
        s = s - torch.as_tensor(alibi_slopes)[:, None, None] * (p - j).abs()[:, None]
    s = s.masked_fill(~seen, -math.inf)
    lse = None
    if weighting in ("softmax", "softmax_plus_one"):
        more = [torch.zeros(B, H, N, 1, dtype=torch.float64)] if weighting == "softmax_plus_one" else [] if sink is None else [torch.as_tensor(sink)[None, :, None, None].expand(B, H, N, 1)]
        # A row that sees nothing weighs nothing: no infinite sums in its gradient.
        w = torch.cat([torch.where(seen.any(-1, keepdim=True), s, 0 * s.detach().nan_to_num(neginf=0))] + more, -1).softmax(-1)[..., :M]
    else:
        w = s.sigmoid() if weighting == "sigmoid" else s.masked_fill(~seen, 0).relu() / Mb[:, None, None, None]
    w = w.masked_fill(~seen, 0)
    out = torch.einsum("bhij,bjhe->bihe", w, v)
    if value_add is not None:
        out = out + torch.einsum("bhij,bije->bihe", w, added(value_add))
    return out, lse, w


def rand(seed, *shape, std=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def qkv(seed, B=2, N=5, M=9, H=4, G=2, D=8, E=6):
    return rand([seed, 0], B, N, H, D, std=1.5), rand([seed, 1], B, M, G, D), rand([seed, 2], B, M, G, E)


def gradients(reference, params, inputs, weights, out):
    """cotangent.out and grad.* of every float tensor, by torch; `out` is what the rows gave."""
    wide = [{n: torch.tensor(a, dtype=torch.float64, requires_grad=True) if a.dtype == np.float32 else a for n, a in group.items()}
            for group in (inputs, weights)]
    whole = reference(dict(params), *(dict(group) for group in wide))
    whole = whole[0] if isinstance(whole, tuple) else whole
    assert np.abs(whole.detach().numpy() - out).max() < 1e-12
    cotangent = np.random.default_rng(99).standard_normal(out.shape).astype(np.float32)
    (whole * torch.tensor(cotangent, dtype=torch.float64)).sum().backward()
    found = {"grad.%s.%s" % (kind, n): a.grad.numpy().astype(np.float32)
             for kind, group in zip(("in", "weight"), wide) for n, a in group.items() if torch.is_tensor(a)}
    return {"cotangent.out": cotangent, **found}


def combined(seed, sinks=True, slopes=True, weightings=("sigmoid", "relu", "softmax_plus_one"), more=None, weights=None, qkv=None, window=(3, 1), **params):
    """Cases of a preset with every common option at once, with gradients: one of softmax, one a weighting. `more`: of all params."""
    B, N, M, H = 3, 5, 8, 6
    rng = np.random.default_rng([seed, 7])
    mask = rng.random((B, 1, N, M)) < 0.8
    inputs = dict(zip("qkv", qkv or globals()["qkv"](seed, B=B, N=N, M=M, H=H, G=3, D=10, E=7)),
                  bias=rand([seed, 10], 1, H, N, M), mask=mask, key_lengths=np.array([8, 3, 6], np.int64), query_lengths=np.array([5, 4, 2], np.int64))
    if slopes:
        inputs["alibi_slopes"] = np.abs(rand([seed, 11], H, std=0.3))
    options = {"scale": 0.4, "softcap": 2.5, **({"window": list(window)} if window else {}), **(more or {}), **params}
    options = {n: x for n, x in options.items() if x is not None}
    made = [("combined", options, inputs | ({"sink": rand([seed, 12], H)} if sinks else {}), weights or {})]
    return made + [("combined-" + w.replace("_", "-"), options | {"weighting": w}, inputs, weights or {}) for w in weightings]


def run(slug, reference, cases, note):
    """cases: (name or "", params, inputs, weights). reference(params, inputs, weights) -> out, lse, weights (or out). Those whose
    name begins with "combined" come with gradients."""
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
        if name.startswith("combined"):
            tensors.update(gradients(reference, params, inputs, weights, outs["out"]))
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
