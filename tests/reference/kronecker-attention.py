# SPDX-License-Identifier: Apache-2.0
"""kronecker-attention: one sum over all tuples by einsum."""
import torch

from autograd import draw, run


def reference(p, inputs, w):
    q, sets = inputs["q"], p["order"] - 1
    group = q.shape[2] // inputs["k1"].shape[2]
    ks = [inputs[f"k{i + 1}"].repeat_interleave(group, 2) for i in range(sets)]
    vs = [inputs[f"v{i + 1}"].repeat_interleave(group, 2) for i in range(sets)]
    axes = "xyzuw"[:sets]
    s = torch.einsum("bnhd," + ",".join(f"b{a}hd" for a in axes) + "->bhn" + axes, q, *ks) * p.get("scale", 1 / q.shape[3])
    if p.get("causal"):
        N = q.shape[1]
        for i, k in enumerate(ks):
            late = torch.arange(k.shape[1])[None] > torch.arange(N)[:, None]
            s = s.masked_fill(late.view([N] + [-1 if j == i else 1 for j in range(sets)]), -torch.inf)
    a = s.flatten(3).softmax(-1).view(s.shape)
    out = torch.einsum("bhn" + axes + "," + ",".join(f"b{x}he" for x in axes) + "->bnhe", a, *vs)
    return {"out": out} | ({"weights": a} if sets == 2 else {})


def case(name, seed, N, lengths, H=2, G=2, D=4, E=3, **p):
    s = {"q": (2, N, H, D)}
    for i, M in enumerate(lengths):
        s |= {f"k{i + 1}": (2, M, G, D), f"v{i + 1}": (2, M, G, E)}
    return name, {"order": len(lengths) + 1, **p}, draw(seed, **s), {}


run("kronecker-attention", reference, [case("default-scale", 1, 4, [3, 5]), case("causal", 2, 5, [5, 5], causal=True, scale=0.5), case("grouped", 3, 4, [4, 3], H=4, G=2, causal=True),
                                       case("order-4", 4, 3, [3, 4, 2], E=4, scale=0.4), case("order-4-causal", 5, 4, [4, 4, 4], causal=True), case("order-2", 6, 4, [6])], "all tuples")
