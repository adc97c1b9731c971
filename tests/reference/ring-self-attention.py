# SPDX-License-Identifier: Apache-2.0
"""ring-self-attention: dense attention a head at a time; the layer's rows taken apart head by head."""
import numpy as np
import torch

from autograd import draw, run


def reference(p, inputs, w):
    P, size, module = p["ranks"], p.get("element_bytes", 2), "hidden_states" in inputs
    if module:
        x, H = inputs["hidden_states"], p["num_attention_heads"]
        C = x.shape[-1]
        D, scale = C // H, C**-0.5
        rows = lambda h, part: slice((3 * h + part) * D, (3 * h + part + 1) * D)
        q, k, v = (torch.stack([x @ w["query_key_value.weight"][rows(h, part)].T + w["query_key_value.bias"][rows(h, part)] for h in range(H)], 2) for part in range(3))
    else:
        q, k, v = (inputs[n] for n in "qkv")
        scale = p.get("scale") or q.shape[-1] ** -0.5
    B, N, H, D = q.shape
    weights = torch.zeros(B, H, N, N, dtype=torch.float64)
    for b in range(B):
        for i in range(N):
            seen = [j for j in range(N) if "mask" not in inputs or inputs["mask"][b, i, j]]
            if seen:
                for h in range(H):
                    weights[b, h, i, seen] = (scale * k[b, seen, h] @ q[b, i, h]).softmax(0)
    out = (weights @ v.transpose(1, 2)).transpose(1, 2)
    if module:
        out = out.flatten(2) @ w["dense.weight"].T + w["dense.bias"]
    n = N // P
    return {"out": out, "weights": weights, "bytes_sent": torch.full((P,), 2 * (P - 1) * B * n * H * D * size), "score_entries": torch.full((P,), B * H * n * N)}


def case(name, seed, P, N, H=2, D=3, B=2, module=False, mask=False, **more):
    C = H * D
    inputs = draw(seed, hidden_states=(B, N, C)) if module else draw(seed, q=(B, N, H, D), k=(B, N, H, D), v=(B, N, H, D))
    if mask:
        inputs["mask"] = np.random.default_rng(seed).random((B, N, N)) < 0.6
        inputs["mask"][0, 1] = False
    w = draw(seed + 50, 0.5, **{"query_key_value.weight": (3 * C, C), "query_key_value.bias": (3 * C,), "dense.weight": (C, C), "dense.bias": (C,)}) if module else {}
    return name, {"ranks": P} | ({"hidden_size": C, "num_attention_heads": H} if module else {}) | more, inputs, w


run("ring-self-attention", reference, [case("module", 1, 2, 6, module=True), case("module-masked", 2, 4, 8, H=3, module=True, mask=True, element_bytes=4), case("masked", 3, 3, 6, mask=True),
                                       case("own-scale", 4, 2, 4, scale=0.4, element_bytes=4), case("one-rank", 5, 1, 3)], "a head at a time")
