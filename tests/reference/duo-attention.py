# SPDX-License-Identifier: Apache-2.0
"""duo-attention: a query and a head at a time; the heads chosen by numpy's quantile."""
import numpy as np
import torch

from autograd import draw, run


def rotated(x, cos, sin):
    a, b = x.chunk(2, -1)
    c, s = cos.chunk(2, -1)[0], sin.chunk(2, -1)[0]
    return torch.cat([a * c - b * s, b * c + a * s], -1)


def sparsify(p, inputs):
    gates = inputs["full_attention_heads"]
    full = lambda share: gates >= (2 if share >= 1 else float(np.quantile(gates.detach().numpy(), share)))  # gates are below 2
    return {"out": full(0.5).double()} | {f"mask_{round(100 * s)}": full(s).long() for s in p["sparsities"]}


def layer(p, inputs, w):
    H, G = p["num_attention_heads"], p["num_key_value_heads"]
    N = inputs["x"].shape[1]
    visible = torch.tensor([[j <= i and (j < p["sink_size"] or i - j < p["recent_size"]) for j in range(N)] for i in range(N)])

    def attend(x, allowed):
        q, k, v = ((x @ w[n + "_proj.weight"].T).unflatten(-1, (heads, -1)).transpose(1, 2) for n, heads in (("q", H), ("k", G), ("v", G)))
        q, k = rotated(q, inputs["cos"], inputs["sin"]), rotated(k, inputs["cos"], inputs["sin"])
        heads = []
        for h in range(H):
            g = h // (H // G)
            rows = [((k[:, g, allowed[i]] @ q[:, h, i, :, None] / q.shape[-1] ** 0.5).softmax(1) * v[:, g, allowed[i]]).sum(1) for i in range(N)]
            heads.append(torch.stack(rows, 1))
        return heads

    full, part = attend(inputs["x"], torch.tril(torch.ones(N, N)) > 0), attend(inputs["x_streaming"], visible)
    alpha = w["full_attention_heads"].clamp(0, 1)
    mixed = [alpha[h // (H // G)] * full[h] + (1 - alpha[h // (H // G)]) * part[h] for h in range(H)]
    return {"out": torch.cat(mixed, -1) @ w["o_proj.weight"].T, "out_full": torch.cat(full, -1) @ w["o_proj.weight"].T, "streaming_mask": visible}


def reference(p, inputs, w):
    return sparsify(p, inputs) if p.get("step") == "sparsify" else layer(p, inputs, w)


def case(name, seed, H, G, sink, recent, C=12, N=9, D=4, B=2):
    angle = torch.arange(N)[:, None] * 10000.0 ** (-torch.arange(0, D, 2) / D)
    turn = {"cos": torch.cat([angle.cos()] * 2, -1).float().numpy(), "sin": torch.cat([angle.sin()] * 2, -1).float().numpy()}
    w = draw(seed + 50, 0.5, **{"full_attention_heads": ((G,), 0.7, 0.5), "q_proj.weight": (H * D, C), "k_proj.weight": (G * D, C), "v_proj.weight": (G * D, C), "o_proj.weight": (C, H * D)})
    params = {"hidden_size": C, "num_attention_heads": H, "num_key_value_heads": G, "sink_size": sink, "recent_size": recent, "causal": True}
    return name, params, draw(seed, x=(B, N, C), x_streaming=(B, N, C)) | turn, w


def choice(name, seed, shape, shares):
    return name, {"step": "sparsify", "sparsities": shares}, draw(seed, full_attention_heads=(shape, 0.3, 0.5)), {}


run("duo-attention", reference, [case("grouped", 1, 4, 2, 1, 3), case("no-sink", 2, 2, 1, 0, 1), case("longer-than-the-text", 3, 2, 2, 4, 20), choice("sparsify", 4, (3, 4), [0.25, 0.5, 0.7]),
                                 choice("sparsify-odd", 5, (3, 7), [0.0, 0.3, 0.5, 1.0]), choice("sparsify-one", 6, (1, 1), [0.5])],
    "a query and a head at a time", no_gradient=("cos", "sin"))
