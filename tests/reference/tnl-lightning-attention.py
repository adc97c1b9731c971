# SPDX-License-Identifier: Apache-2.0
"""tnl-lightning-attention: token by token, with a state a head."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def slopes(H):
    n = 1
    while 2 * n <= H:
        n *= 2
    return [2.0 ** (-8 * (h + 1) / n) for h in range(n)] + [2.0 ** (-8 * (2 * r + 1) / (2 * n)) for r in range(H - n)]


def reference(params, inputs, w):
    x, H, l, L = inputs["x"], params["num_heads"], params.get("layer_idx", 0), params.get("num_layers", 12)
    B, N, C = x.shape
    lin = lambda n, y: F.linear(y, w[n + ".weight"], w.get(n + ".bias"))
    q, k, v = (F.silu(lin(n, x)).view(B, N, H, C // H) for n in ("q_proj", "k_proj", "v_proj"))
    keep = torch.exp(-torch.tensor(slopes(H), dtype=x.dtype) * (1 - l / (L - 1) + 1e-5))
    S, outs = torch.zeros(B, H, C // H, C // H, dtype=x.dtype), []
    for t in range(N):
        S = S * keep[:, None, None] + k[:, t, :, :, None] * v[:, t, :, None, :]
        outs.append((q[:, t, :, None, :] @ S)[:, :, 0])
    o = F.layer_norm(torch.stack(outs, 1).reshape(B, N, C), (C,), w["norm.weight"], w["norm.bias"], 1e-5)
    gate = torch.sigmoid(lin("output_gate.1", lin("output_gate.0", x)))
    return {"out": lin("o_proj", o * gate)}


def weights(seed, C, H, bias):
    d, shapes = C // H, {}
    for n in "qkvo":
        shapes[n + "_proj.weight"] = (C, C)
    shapes |= {"norm.weight": ((C,), 0.2, 1.0), "norm.bias": (C,), "output_gate.0.weight": (d, C), "output_gate.1.weight": (C, d)}
    if bias:
        shapes |= {n + "_proj.bias": (C,) for n in "qkvo"} | {"output_gate.0.bias": (d,), "output_gate.1.bias": (C,)}
    return draw(seed, 0.3, **shapes)


run("tnl-lightning-attention", reference, [
    ("bias", {"embed_dim": 24, "num_heads": 6, "bias": True, "layer_idx": 3, "num_layers": 8}, draw(1, x=(2, 17, 24)), weights(11, 24, 6, True)),
    ("last-layer", {"num_heads": 2, "layer_idx": 11}, draw(2, x=(1, 65, 16)), weights(12, 16, 2, False)),
], "recurrence")
