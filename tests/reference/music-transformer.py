# SPDX-License-Identifier: Apache-2.0
"""music-transformer: the table looked up for every pair; distances below 0 have no row."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, h, L = inputs["x"], p["h"], p["max_seq"]
    B, N, d = x.shape
    q, k, v = (F.linear(x, w[n + ".weight"], w[n + ".bias"]).view(B, N, h, d // h).transpose(1, 2) for n in ("Wq", "Wk", "Wv"))
    i, j = torch.arange(N)[:, None], torch.arange(N)
    a = w["E"][(L - 1 - (i - j)).clamp(max=L - 1)] * (j <= i)[..., None]
    s = (q @ k.transpose(2, 3) + torch.einsum("bhic,ijc->bhij", q, a)) / (d // h) ** 0.5
    if p.get("causal", True):
        s = s.masked_fill(j > i, -torch.inf)
    m = s.softmax(-1)
    return {"out": F.linear((m @ v).transpose(1, 2).flatten(2), w["fc.weight"], w["fc.bias"]), "weights": m}


def case(name, seed, N, L, h=2, d=8, **p):
    s = {n + t: (d, d) if t == ".weight" else (d,) for n in ("Wq", "Wk", "Wv", "fc") for t in (".weight", ".bias")}
    return name, {"h": h, "d": d, "max_seq": L, **p}, draw(seed, x=(2, N, d)), draw(seed + 50, 0.6, E=((L, d // h), 1.0, 0.0), **s)


run("music-transformer", reference, [case("shorter", 1, 7, 12), case("both-sides", 2, 6, 9, causal=False), case("both-sides-full", 3, 5, 5, h=4, causal=False), case("one-token", 4, 1, 3, h=1),
                                     case("causal", 5, 11, 11, causal=True)], "pair by pair")
