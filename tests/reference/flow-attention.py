# SPDX-License-Identifier: Apache-2.0
"""flow-attention: sums over positions one query at a time."""
import torch

from autograd import draw, run


def reference(params, inputs, weights):
    q, k, v, eps = torch.sigmoid(inputs["q"]), torch.sigmoid(inputs["k"]), inputs["v"], params.get("eps", 1e-6)
    N, M = q.shape[1], k.shape[1]
    flow = lambda a, b: ((a + eps) * (b + eps)).sum(-1)  # (B, H)
    if not params.get("causal"):
        I = torch.stack([flow(q[:, i], k.sum(1)) for i in range(N)], 1)
        O = torch.stack([flow(k[:, j], q.sum(1)) for j in range(M)], 1)
        Ihat = torch.stack([flow(q[:, i], (k / O[..., None]).sum(1)) for i in range(N)], 1)
        Ohat = torch.stack([flow(k[:, j], (q / I[..., None]).sum(1)) for j in range(M)], 1).clamp(-1, 1)
        read = torch.einsum("bihd,bjhd,bjh,bjhe->bihe", q / I[..., None], k, torch.softmax(Ohat, 1) * M, v)
        return {"out": read * torch.sigmoid(Ihat * N / M)[..., None]}
    I = torch.stack([flow(q[:, t], k[:, :t + 1].sum(1)) for t in range(N)], 1)
    O = torch.stack([flow(k[:, t], q[:, :t + 1].sum(1)) for t in range(N)], 1)
    n = torch.arange(1, N + 1, dtype=q.dtype)[:, None]
    Ihat = torch.stack([flow(q[:, t], (k * (n / O)[..., None])[:, :t + 1].sum(1)) / (t + 1) for t in range(N)], 1)
    Ohat = torch.stack([flow(k[:, t], (q * (n / I)[..., None])[:, :t + 1].sum(1)) / (t + 1) for t in range(N)], 1).clamp(-1, 1)
    won = torch.stack([torch.softmax(Ohat[:, :t + 1], 1)[:, t] * (t + 1) for t in range(N)], 1)
    outs = [torch.einsum("bhd,bjhd,bjh,bjhe->bhe", (q / I[..., None])[:, t], k[:, :t + 1], won[:, :t + 1], v[:, :t + 1]) for t in range(N)]
    return {"out": torch.stack(outs, 1) * torch.sigmoid(Ihat)[..., None]}


def io(seed, N, M, E=5):
    return draw(seed, q=(2, N, 2, 4), k=(2, M, 2, 4), v=(2, M, 2, E))


run("flow-attention", reference, [
    ("more-keys", {"n_heads": 2}, io(1, 7, 12), {}),
    ("fewer-keys", {"eps": 1e-3}, io(2, 11, 5, 4), {}),
    ("causal", {"causal": True, "n_heads": 2}, io(3, 19, 19), {}),
], "sums over positions")
