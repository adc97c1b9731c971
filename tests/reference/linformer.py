# SPDX-License-Identifier: Apache-2.0
"""linformer: a query at a time."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, c = inputs["x"], inputs.get("context", inputs["x"])
    heads = p["heads"]
    d = w["to_q.weight"].shape[0] // heads
    q, k = x @ w["to_q.weight"].T, torch.einsum("bnc,nk->bkc", c @ w["to_k.weight"].T, w["proj_k"][:c.shape[1]])
    v = k if p.get("share_kv") else torch.einsum("bnc,nk->bkc", c @ w["to_v.weight"].T, w["proj_v"][:c.shape[1]])
    outs = []
    for h in range(heads):
        at = slice(0, d) if p.get("one_kv_head") else slice(h * d, h * d + d)
        s = q[..., h * d:h * d + d] @ k[..., at].transpose(1, 2) / d**0.5
        outs.append(s.softmax(-1) @ v[..., at])
    return {"out": F.linear(torch.cat(outs, -1), w["to_out.weight"], w["to_out.bias"])}


def case(name, seed, N, M=None, C=12, heads=3, d=4, S=11, k=5, **p):
    kv = d if p.get("one_kv_head") else heads * d
    shapes = {"to_q.weight": (heads * d, C), "to_k.weight": (kv, C), "proj_k": (S, k), "to_out.weight": (C, heads * d), "to_out.bias": (C,)}
    if not p.get("share_kv"):
        shapes |= {"to_v.weight": (kv, C), "proj_v": (S, k)}
    inputs = {"x": (2, N, C)} | ({"context": (2, M, C)} if M else {})
    return name, {"dim": C, "seq_len": S, "k": k, "heads": heads, "dim_head": d, **p}, draw(seed, **inputs), draw(seed + 50, 0.5, **shapes)


run("linformer", reference, [case("short", 1, 7), case("context", 2, 4, 9), case("one-kv-head", 3, 11, one_kv_head=True, d=6),
                             case("share-kv", 4, 6, 10, share_kv=True), case("both", 5, 5, share_kv=True, one_kv_head=True)], "a head at a time")
