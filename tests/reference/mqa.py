# SPDX-License-Identifier: Apache-2.0
"""mqa: the whole matrix of scores over the cache."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H = inputs["x"], p["num_attention_heads"]
    B, N, E = x.shape
    D = E // H
    q, kv = F.linear(x, w["c_attn.weight"], w["c_attn.bias"]).split([E, 2 * D], 2)
    kv = torch.cat([inputs["past_kv"], kv], 1) if "past_kv" in inputs else kv
    M = kv.shape[1]
    s = torch.einsum("bnhd,bmd->bhnm", q.view(B, N, H, D), kv[..., :D]) / D**0.5
    if p.get("causal", True):
        s = s.masked_fill(torch.arange(M) > torch.arange(N)[:, None] + M - N, -torch.inf)
    m = s.softmax(-1)
    return {"out": F.linear(torch.einsum("bhnm,bmd->bnhd", m, kv[..., D:]).flatten(2), w["c_proj.weight"], w["c_proj.bias"]), "weights": m, "kv": kv}


def case(name, seed, H=3, D=3, N=5, **p):
    E, P = H * D, p.get("past", 0)
    s = {"c_attn.weight": (E + 2 * D, E), "c_attn.bias": (E + 2 * D,), "c_proj.weight": (E, E), "c_proj.bias": (E,)}
    return name, {"num_attention_heads": H, **p}, draw(seed, x=(2, N, E), **({"past_kv": (2, P, 2 * D)} if P else {})), draw(seed + 50, 0.6, **s)


run("mqa", reference, [case("past", 1, past=6, hidden_size=9), case("decoding", 2, H=4, D=2, N=1, past=7, num_kv_heads=1), case("past-both-sides", 3, past=3, causal=False), case("both-sides", 4, H=1, D=4, causal=False)],
    "the whole matrix of scores")
