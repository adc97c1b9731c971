# SPDX-License-Identifier: Apache-2.0
"""grouped-differential-attention: head by head."""
import math

import numpy as np
import torch
import torch.nn.functional as F

from autograd import draw, run


def softmap(q, k, scale, causal):
    s = q @ k.transpose(-1, -2) * scale
    return (s.masked_fill(torch.ones_like(s, dtype=torch.bool).triu(1), -torch.inf) if causal else s).softmax(-1)


def turned(x, cos, sin):  # B N heads D, pairs (2i, 2i + 1)
    z = torch.view_as_complex(x.reshape(*x.shape[:3], -1, 2)) * torch.complex(cos, sin)[:, None]
    return torch.view_as_real(z).flatten(3)


def reference(p, inputs, w):
    D = len(w["lambda_q1"])
    if "embed_dim" in p:
        x, h1, G = inputs["x"], p["num_heads"], 1
        B, N, _ = x.shape
        q, k = (F.linear(x, w[n + "_proj.weight"]).view(B, N, -1, D) for n in "qk")
        if p.get("rope") == "interleaved":
            q, k = (turned(t, inputs["cos"], inputs["sin"]) for t in (q, k))
        v = F.linear(x, w["v_proj.weight"]).view(B, N, -1, 2 * D)
        signal, noise = q[:, :, ::2], q[:, :, 1::2]
    else:
        q, k, v = (inputs[n] for n in "qkv")
        B, N, H, _ = q.shape
        G = p.get("grouped_ratio") or (p["num_q1_heads"] // (H - p["num_q1_heads"]) if "num_q1_heads" in p else 1)
        h1 = H // (G + 1) * G
        signal = torch.stack([q[:, :, h] for h in range(H) if h % (G + 1) < G], 2)
        noise = torch.stack([q[:, :, h] for h in range(H) if h % (G + 1) == G], 2)
        v = torch.stack([torch.cat([v[:, :, 2 * g], v[:, :, 2 * g + 1]], -1) for g in range(v.shape[2] // 2)], 2)
    h2, pairs = h1 // G, v.shape[2]
    start = p.get("lambda_init", 0.8 - 0.6 * math.exp(-0.3 * (p["depth"] if "depth" in p else p.get("layer_idx", 1) - 1)))
    lam = (w["lambda_q1"] @ w["lambda_k1"]).exp() - (w["lambda_q2"] @ w["lambda_k2"]).exp() + start
    scale, causal = p.get("scale", D**-0.5), p.get("causal", True)
    out = []
    for h in range(h1):
        a, g = h // (h1 // pairs), h // G
        b = g // (h2 // pairs)
        y = softmap(signal[:, :, h], k[:, :, 2 * a], scale, causal) @ v[:, :, a] - lam * softmap(noise[:, :, g], k[:, :, 2 * b + 1], scale, causal) @ v[:, :, b]
        out.append(y / (y.square().mean(-1, keepdim=True) + p.get("subln_eps", 1e-5)).sqrt() * w["subln.weight"] * (1 - start))
    out = torch.cat(out, -1)
    return {"out": F.linear(out, w["out_proj.weight"]) if "embed_dim" in p else out, "lambda_full": lam.reshape(1)}


def lambdas(D):
    return {n: (D,) for n in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")} | {"subln.weight": ((2 * D,), 0.3, 1.0)}


def heads(name, seed, H, KV, D=4, N=6, **p):
    return name, p, draw(seed, q=(2, N, H, D), k=(2, N, KV, D), v=(2, N, KV, D)), draw(seed + 50, 0.4, **lambdas(D))


def module(name, seed, H, KV, D=3, N=6, **p):
    E = 2 * H * D
    s = {"q_proj.weight": (E, E), "k_proj.weight": (2 * KV * D, E), "v_proj.weight": (2 * KV * D, E), "out_proj.weight": (E, E)}
    inputs = draw(seed, x=(2, N, E))
    if p.get("rope") == "interleaved":
        angle = np.arange(N)[:, None] * 1e4 ** (-np.arange(0, D, 2) / D)
        inputs |= {"cos": np.cos(angle).astype(np.float32), "sin": np.sin(angle).astype(np.float32)}
    return name, {"embed_dim": E, "num_heads": H, **p}, inputs, draw(seed + 50, 0.25, **lambdas(D), **s)


run("grouped-differential-attention", reference, [
    heads("four", 1, 10, 4, num_heads=10, num_q1_heads=8, num_q2_heads=2, grouped_ratio=4, num_kv_heads=4, head_dim=4, layer_idx=3), heads("both-sides", 2, 8, 4, causal=False, num_heads=8, num_q1_heads=6, num_q2_heads=2, scale=0.3),
    heads("ratio", 3, 8, 2, num_heads=8, grouped_ratio=3, subln_eps=1e-3), heads("pairs", 4, 4, 4, num_heads=4, lambda_init=0.5, layer_idx=7), heads("signal-heads", 5, 9, 6, num_heads=9, num_q1_heads=6),
    module("module", 6, 2, 2, depth=7), module("module-rope", 7, 2, 1, D=4, rope="interleaved", depth=0, num_kv_heads=1, N=5), module("module-layer", 8, 2, 1, layer_idx=4, causal=False, head_dim=3)],
    "head by head", no_gradient=("cos", "sin"))
