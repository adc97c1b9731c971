# SPDX-License-Identifier: Apache-2.0
"""mega: the average as a sum over kernel elements, the attention over all pairs of a chunk."""
import math

import torch
import torch.nn.functional as F

from autograd import draw, run


def average(params, w, y):
    B, N, E = y.shape
    p = torch.sigmoid(w["move.delta"])
    q = 1 - p * torch.sigmoid(w["move.alpha"])
    L = min(N, params.get("truncation") or N)
    lag = torch.arange(L, dtype=y.dtype)
    kernel = (p * w["move.beta"] * q ** lag * w["move.gamma"][..., None]).sum(1) / math.sqrt(q.shape[1])  # (D, L)
    out = torch.zeros_like(y)
    for l in range(L):
        out = out + F.pad(y, (0, 0, l, 0))[:, :N] * kernel[:E, l]
        if params.get("bidirectional"):
            out = out + F.pad(y, (0, 0, 0, l))[:, l:] * kernel[E:, l]
    return out


def norm(params, w, y):
    if params.get("norm_type", "layernorm") == "layernorm":
        return F.layer_norm(y, y.shape[-1:], w["norm.norm.weight"], w["norm.norm.bias"], 1e-5)
    return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-5) * w["norm.norm.weight"]


def bias(params, w, c, chunk):
    n = torch.arange(c)
    if params.get("rel_pos_bias", "simple") == "simple":
        P = params.get("max_positions", 1024) if chunk < 0 else chunk
        return w["rel_pos_bias.rel_pos_bias"][P - 1 + n[None] - n[:, None]]
    half = w["rel_pos_bias.alpha"].shape[1] // 2
    angle = n[:, None] * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)

    def turn(y):
        a, b = y[:, :half], y[:, half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], 1)
    return turn(w["rel_pos_bias.alpha"]) @ turn(w["rel_pos_bias.beta"]).T


def reference(params, inputs, w):
    x, pad = inputs["x"], inputs.get("padding_mask")
    B, N, E = x.shape
    Z, F_, chunk = params["zdim"], params["hdim"], params.get("chunk_size", -1)
    c = N if chunk < 0 else min(N, chunk)
    K = N // c
    lin = lambda n, y: F.linear(y, w[n + "_proj.weight"], w[n + "_proj.bias"])
    y = norm(params, w, x) if params.get("prenorm", True) else x
    shown = y if pad is None else y * ~pad[..., None]
    ema = F.silu(average(params, w, shown) + y * w["move.omega"])
    v = F.silu(lin("v", y)).view(B, K, c, F_)
    u, z, r, hx = torch.split(lin("mx", ema), [E, Z, F_, E], -1)
    z = F.silu(z)
    q, k = ((z * w["gamma"][i] + w["beta"][i]).view(B, K, c, Z) for i in (0, 1))
    kind, causal, add = params.get("attention_activation", "softmax"), params.get("causal", False), bias(params, w, c, chunk)
    hide = torch.zeros(B, K, c, dtype=torch.bool) if pad is None else pad.view(B, K, c)
    above = torch.ones(c, c, dtype=torch.bool).triu(1) & causal
    if kind == "softmax":
        hide = hide & ~hide.all(-1, keepdim=True)
        s = q * Z ** -0.5 @ k.transpose(2, 3) + add
        weights = torch.softmax(s.masked_fill(hide[:, :, None] | above, float("-inf")), -1)
    else:
        n = torch.arange(1, c + 1, dtype=x.dtype)[:, None] if causal else (~hide).sum(-1).clamp(min=1)[..., None, None]
        s = q @ k.transpose(2, 3) / n + add
        f = F.relu(s) ** 2 if kind == "relu2" else 0.5 * (1 + torch.erf((s - 0.707107) / (0.282095 * math.sqrt(2))))
        weights = f * ~(hide[:, :, None] | above)
    h = F.silu(hx + lin("h", (weights @ v).view(B, N, F_) * F.silu(r)))
    out = x + torch.sigmoid(u) * (h - x)
    return {"out": out if params.get("prenorm", True) else norm(params, w, out), "weights": weights, "ema": ema}


def case(name, seed, x, E, Z=6, F_=10, n=3, pads=(), **params):
    D = 2 * E if params.get("bidirectional") else E
    P = params.get("max_positions", 1024) if params.get("chunk_size", -1) < 0 else params["chunk_size"]
    shapes = {"norm.norm.weight": ((E,), 0.2, 1.0), "move.delta": (D, n, 1), "move.alpha": (D, n, 1), "move.beta": (D, n, 1), "move.gamma": (D, n),
              "move.omega": (E,), "v_proj.weight": (F_, E), "v_proj.bias": (F_,), "mx_proj.weight": (Z + F_ + 2 * E, E), "mx_proj.bias": (Z + F_ + 2 * E,),
              "h_proj.weight": (E, F_), "h_proj.bias": (E,), "gamma": (2, Z), "beta": (2, Z)}
    if params.get("norm_type", "layernorm") == "layernorm":
        shapes["norm.norm.bias"] = (E,)
    shapes |= {"rel_pos_bias.rel_pos_bias": (2 * P - 1,)} if params.get("rel_pos_bias", "simple") == "simple" else {"rel_pos_bias.alpha": (1, Z), "rel_pos_bias.beta": (1, Z)}
    inputs = draw(seed, x=(*x, E))
    if pads:
        import numpy as np
        inputs["padding_mask"] = np.arange(x[1]) >= x[1] - np.array(pads)[:, None]
    return name, {"embed_dim": E, "zdim": Z, "hdim": F_, "ndim": n, **params}, inputs, draw(seed + 50, 0.5, **shapes)


run("mega", reference, [
    case("laplace", 1, (2, 13), 8, attention_activation="laplace", causal=True, max_positions=20),
    case("relu2-chunks", 2, (2, 12), 8, attention_activation="relu2", chunk_size=4, bidirectional=True, rel_pos_bias="rotary", norm_type="rmsnorm"),
    case("both-sides-padded", 3, (2, 11), 6, pads=(0, 4), bidirectional=True, truncation=3, max_positions=11),
    case("chunks-padded", 4, (2, 12), 6, pads=(2, 9), chunk_size=4, causal=False, prenorm=False),
    case("laplace-padded", 5, (2, 10), 6, pads=(1, 3), attention_activation="laplace", prenorm=False, norm_type="rmsnorm", max_positions=16),
    case("short-chunk", 6, (1, 5), 6, chunk_size=8, causal=True, truncation=2),
    case("chunks-causal", 7, (1, 15), 6, chunk_size=5, causal=True, attention_activation="relu2", truncation=7),
    case("many-averages", 8, (1, 9), 4, n=16, rel_pos_bias="rotary", bidirectional=True),
], "all pairs")
