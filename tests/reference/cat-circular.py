# SPDX-License-Identifier: Apache-2.0
"""cat-circular: the rolled matrix entry by entry."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, c, h = inputs["x"], inputs.get("context", inputs["x"]), p["num_heads"]
    lin = lambda n, t: F.linear(t, w[n + ".weight"], w.get(n + ".bias"))
    B, N, C = x.shape
    M, d = c.shape[1], C // h
    if p["kind"] == "averaged_key":
        q, k = lin("W_Q", x).view(B, N, h, d), lin("W_K", c).view(B, M, h, d)
        z = (q * k.mean(1, keepdim=True)).sum(-1) / d**0.5
    else:
        z = lin("W_A", x)
    z, v = z.softmax(1), lin("W_V", c).view(B, M, h, d)
    i, j = torch.arange(N)[:, None], torch.arange(M)
    a = z[:, (j - i) % N]  # B N M h
    if p["kind"] == "causal":
        a = a * (j <= i)[None, :, :, None]
    o = torch.einsum("bijh,bjhd->bihd", a, v).flatten(2)
    return {"out": F.linear(o, w["proj.weight"], w["proj.bias"]), "out_divided_by_n": F.linear(o / N, w["proj.weight"], w["proj.bias"])}


def case(name, seed, kind, N, M=None, C=6, h=2, bias=True):
    names = {"W_Q": C, "W_K": C, "W_V": C} if kind == "averaged_key" else {"W_A": h, "W_V": C}
    s = {n + ".weight": (wide, C) for n, wide in names.items()} | ({n + ".bias": (wide,) for n, wide in names.items()} if bias else {})
    s |= {"proj.weight": (C, C), "proj.bias": (C,)}
    inputs = {"x": (2, N, C)} | ({"context": (2, M, C)} if M else {})
    return name, {"kind": kind, "dim": C, "num_heads": h, "qkv_bias": bias}, draw(seed, **inputs), draw(seed + 50, 0.5, **s)


run("cat-circular", reference, [case("averaged-key", 1, "averaged_key", 7), case("longer-context", 2, "averaged_key", 5, 13, bias=False),
                                case("shorter-context", 3, "averaged_key", 8, 3), case("causal", 4, "causal", 9), case("causal-even", 5, "causal", 8, bias=False),
                                case("even", 6, "cat", 12, bias=False), case("one-token", 7, "cat", 1)], "entry by entry")
