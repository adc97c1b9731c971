# SPDX-License-Identifier: Apache-2.0
"""wgqa: keys of every head first, then their weighted sums; nothing is folded but the outputs that say so."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H, G, kind = inputs["x"], p["num_heads"], p["num_kv_heads"], p.get("kind", "wgqa")
    B, N, C = x.shape
    D = w["q.weight"].shape[0] // H
    src = inputs.get("memory", x)
    M = src.shape[1]

    def grouped(name):
        each = w[name + ".weight"].view(H, D, C)
        mix = w["params.w" + name]
        heads = []
        for h in range(H):  # a head's keys, weighed per head, per output channel, or per input channel
            heads.append((src * mix[h]) @ each[h].T if kind == "row" else (src @ each[h].T) * mix[h])
        return torch.stack([sum(heads[g * (H // G):(g + 1) * (H // G)]) for g in range(G)], 1)  # B G M D

    def folded(name):
        mix = w["params.w" + name]
        rows = [torch.diag(mix[h].expand(D)) @ w[name + ".weight"][h * D:(h + 1) * D] if kind != "row" else w[name + ".weight"][h * D:(h + 1) * D] @ torch.diag(mix[h]) for h in range(H)]
        return torch.cat([sum(rows[g * (H // G):(g + 1) * (H // G)]) for g in range(G)])

    q = F.linear(x, w["q.weight"]).view(B, N, H, D).transpose(1, 2)
    k, v = (grouped(n).repeat_interleave(H // G, 1) for n in "kv")
    s = p.get("scale", 1.0) * q @ k.transpose(2, 3)
    if "bias" in inputs:
        s = s + inputs["bias"]
    if p.get("causal"):
        s = s.masked_fill(torch.arange(M) > torch.arange(N)[:, None] + M - N, -torch.inf)
    m = s.softmax(-1)
    return {"out": F.linear((m @ v).transpose(1, 2).flatten(2), w["o.weight"]), "weights": m, "k_folded": folded("k"), "v_folded": folded("v")}


def case(name, seed, kind, H=6, G=2, D=3, C=7, N=5, M=None, bias=False, **p):
    each = {"wgqa": 1, "col": D, "row": C}[kind]
    inputs = draw(seed, x=(2, N, C), **({"memory": (2, M, C)} if M else {}), **({"bias": (H, N, M or N)} if bias else {}))
    weights = draw(seed + 50, 0.6, **{n + ".weight": (H * D, C) for n in "qkv"}, **{"o.weight": (C, H * D), "params.wk": (H, each), "params.wv": (H, each)})
    return name, {"kind": kind, "num_heads": H, "num_kv_heads": G, **p}, inputs, weights


run("wgqa", reference, [case("col", 1, "col", d_kv=3), case("row-causal", 2, "row", causal=True), case("memory", 3, "wgqa", M=8, scale=0.5), case("col-memory-causal", 4, "col", M=9, causal=True, bias=True),
                        case("row-memory-bias", 5, "row", M=4, bias=True, d_kv=3, scale=0.577), case("one-group", 6, "wgqa", H=3, G=1, bias=True), case("all-groups", 7, "col", H=3, G=3)],
    "heads weighed after their projection")
