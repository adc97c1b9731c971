# SPDX-License-Identifier: Apache-2.0
"""rat: each query's own list of keys, one softmax over it."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def rotate(y, at, base):
    half = y.shape[-1] // 2
    angle = at * base ** (-torch.arange(half, dtype=y.dtype) / half)
    a, b = y[..., :half], y[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def reference(params, inputs, w):
    x, H, L, G, base = inputs["x"], params["num_head"], params["chunk_size"], params.get("ngroups", 2), params.get("rope_base", 10000)
    B, N, C = x.shape
    D = C // H
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w["input_norm.weight"]
    z, v, g, q, k = torch.split(F.linear(normed, w["in_proj.weight"]), [C, C, C, G * D, G * D], -1)
    g = torch.sigmoid(g + w["gate_bias"])
    pick = torch.arange(H) % G
    q, k = (y.view(B, N, G, D)[:, :, pick] for y in (q, k))

    def smooth(y):
        rows = []
        for t in range(N):
            before = rows[-1] if t % L else torch.zeros_like(y[:, 0])
            rows.append(g[:, t] * before + (1 - g[:, t]) * y[:, t])
        return torch.stack(rows, 1).view(B, N, H, D)

    keys, values, outs = smooth(k.reshape(B, N, C)), smooth(v), []
    for t in range(N):
        c = t // L
        seen = [(i + 1) * L - 1 for i in range(c)] + [t]
        kk = torch.stack([rotate(keys[:, j], j // L, base) for j in seen], 1)
        s = torch.einsum("bhd,bjhd->bhj", rotate(q[:, t], c, base), kk) * D ** -0.5
        outs.append(torch.einsum("bhj,bjhd->bhd", torch.softmax(s, -1), values[:, seen]))
    return {"out": x + F.linear(torch.sigmoid(z) * torch.stack(outs, 1).reshape(B, N, C), w["out_proj.weight"])}


def weights(seed, C, H, G):
    return draw(seed, 0.4, **{"input_norm.weight": ((C,), 0.2, 1.0), "in_proj.weight": (3 * C + 2 * G * (C // H), C), "gate_bias": ((C,), 1.0, 1.0),
                              "out_proj.weight": (C, C)})


run("rat", reference, [
    ("four-groups", {"d_model": 16, "num_head": 4, "chunk_size": 4, "ngroups": 4, "rope_base": 100}, draw(1, x=(2, 20, 16)), weights(11, 16, 4, 4)),
    ("one-group", {"num_head": 3, "chunk_size": 5, "ngroups": 1}, draw(2, x=(1, 15, 12)), weights(12, 12, 3, 1)),
    ("one-chunk", {"num_head": 2, "chunk_size": 9}, draw(3, x=(1, 9, 8)), weights(13, 8, 2, 2)),
], "lists of keys")
