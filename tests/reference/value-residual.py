# SPDX-License-Identifier: Apache-2.0
"""value-residual: a query and a head at a time; svformer, grouped heads, other shares, both directions."""
import torch

from autograd import draw, run


def rotated(x, cos, sin):
    half = x.shape[-1] // 2
    return torch.cat([x[..., :half] * cos[:, :half] - x[..., half:] * sin[:, :half], x[..., half:] * cos[:, half:] + x[..., :half] * sin[:, half:]], -1)


def reference(p, inputs, w):
    H, G, L = p["num_attention_heads"], p["num_key_value_heads"], p["num_layers"]
    outs, first = {}, inputs["x0"] @ w["0.v_proj.weight"].T
    for l in range(L):
        x = inputs[f"x{l}"]
        B, N, _ = x.shape
        value = first
        if l and p["variant"] == "resformer":
            value = p["lambda1"] * first + p["lambda2"] * (x @ w[f"{l}.v_proj.weight"].T)
        q, k, v = (t.view(B, N, n, -1).transpose(1, 2) for t, n in ((x @ w[f"{l}.q_proj.weight"].T, H), (x @ w[f"{l}.k_proj.weight"].T, G), (value, G)))
        q, k = rotated(q, inputs["cos"], inputs["sin"]), rotated(k, inputs["cos"], inputs["sin"])
        heads = []
        for h in range(H):
            g = h // (H // G)
            rows = []
            for i in range(N):
                last = i + 1 if p["causal"] else N
                a = torch.einsum("bd,bjd->bj", q[:, h, i], k[:, g, :last]) / q.shape[-1] ** 0.5
                rows.append(torch.einsum("bj,bjd->bd", a.softmax(-1), v[:, g, :last]))
            heads.append(torch.stack(rows, 1))
        outs[f"out{l}"] = torch.cat(heads, -1) @ w[f"{l}.o_proj.weight"].T
    return {"out": outs[f"out{L - 1}"], **outs}


def case(name, seed, variant, H, G, L, causal=True, theta=10000.0, l1=0.5, l2=0.5, C=12, N=5, D=4):
    angle = torch.arange(N)[:, None] * theta ** (-torch.arange(0, D, 2) / D)
    turn = {"cos": torch.cat([angle.cos()] * 2, -1).float().numpy(), "sin": torch.cat([angle.sin()] * 2, -1).float().numpy()}
    weights = {}
    for l in range(L):
        weights |= {f"{l}.q_proj.weight": (H * D, C), f"{l}.k_proj.weight": (G * D, C), f"{l}.o_proj.weight": (C, H * D)}
        if l == 0 or variant == "resformer":
            weights[f"{l}.v_proj.weight"] = (G * D, C)
    params = {"variant": variant, "lambda1": l1, "lambda2": l2, "hidden_size": C, "num_attention_heads": H, "num_key_value_heads": G,
              "num_layers": L, "rope_theta": theta, "causal": causal}
    return name, params, draw(seed, **{f"x{l}": (2, N, C) for l in range(L)}) | turn, draw(seed + 50, 0.4, **weights)


run("value-residual", reference, [
    case("svformer", 1, "svformer", 2, 2, 3, l1=1.0, l2=0.0), case("svformer-grouped", 2, "svformer", 4, 2, 2, l1=1.0, l2=0.0),
    case("other-shares", 3, "resformer", 4, 1, 2, l1=0.3, l2=1.2), case("both-sides", 4, "resformer", 2, 2, 2, causal=False),
    case("one-layer", 5, "resformer", 2, 1, 1), case("theta", 6, "resformer", 3, 3, 3, theta=500.0, C=7, N=6, D=6)], "a query and a head at a time", no_gradient=("cos", "sin"))
