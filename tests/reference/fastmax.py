# SPDX-License-Identifier: Apache-2.0
"""fastmax: the weights of every pair."""
import torch

from autograd import draw, run


def reference(params, inputs, weights):
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    if params.get("normalize", 0):
        q, k = (params.get("lim", 1.0) * y / y.norm(dim=3, keepdim=True).amax(1, keepdim=True) for y in (q, k))
    s = torch.einsum("bihd,bjhd->bhij", q, k)
    f = params.get("a0", 1.0) + params.get("a1", 1.0) * s + (params.get("a2", 0.5) * s * s if params.get("p", 1) == 2 else 0)
    if params.get("mask"):
        f = f.tril()
    return {"out": torch.einsum("bhij,bjhe->bihe", f / f.sum(3, keepdim=True), v)}


def io(seed, N=15, E=6):
    return draw(seed, 0.3, q=(2, N, 2, 5), k=(2, N, 2, 5), v=(2, N, 2, E))


run("fastmax", reference, [
    ("first-degree", {"normalize": 1, "lim": 0.5}, io(1), {}),
    ("first-degree-causal", {"mask": True, "normalize": 1, "lim": 0.7}, io(2), {}),
    ("causal", {"p": 2, "mask": True}, io(3, 60), {}),
    ("blocks-causal", {"p": 2, "mask": True}, io(5, 300, 2), {}),
    ("blocks", {"p": 2}, io(6, 513, 2), {}),
    ("coefficients", {"p": 2, "a0": 2.0, "a1": 0.5, "a2": 0.25, "temperature": 3, "normalize": 1, "lim": 1.5}, io(4, 20, 9), {}),
], "all pairs")
