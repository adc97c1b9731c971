# SPDX-License-Identifier: Apache-2.0
"""local-linear-attention: a query at a time."""
import torch

from autograd import draw, run


def reference(p, inputs, w):
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    B, N, H, D = q.shape
    M = k.shape[1]
    out, rho, weights = torch.zeros(B, N, H, v.shape[3], dtype=q.dtype), torch.zeros_like(q), torch.zeros(B, H, N, M, dtype=q.dtype)
    for b in range(B):
        for n in range(N):
            for h in range(H):
                last = n + 1 + M - N if p.get("causal", True) else M
                z = k[b, :last, h] - q[b, n, h]
                a = torch.exp(k[b, :last, h] @ q[b, n, h] / p.get("h", D**0.5)) if p.get("kernel", "exp") == "exp" else torch.ones(last, dtype=q.dtype)
                lam = inputs["ridge"][b, n, h] if "ridge" in inputs else p.get("lam", 1.0)
                m = a @ z
                r = torch.linalg.solve((a[:, None] * z).T @ z + lam * torch.eye(D, dtype=q.dtype), m)
                row = a * (1 - z @ r) / (a.sum() - r @ m)
                at = [torch.tensor(i) for i in (b, n, h)]
                out = out.index_put(at, row @ v[b, :last, h])
                rho = rho.index_put(at, r)
                weights = weights.index_put([at[0], at[2], at[1]], torch.nn.functional.pad(row, (0, M - last)))
    return {"out": out, "rho": rho, "weights": weights}


def case(name, seed, N, M, ridge=False, **p):
    import numpy as np
    inputs = draw(seed, q=((2, N, 2, 4), 0.7, 0.0), k=(2, M, 2, 4), v=(2, M, 2, 3))
    if ridge:
        inputs["ridge"] = np.abs(draw(seed + 9, ridge=(2, N, 2))["ridge"]) + np.float32(0.5)
    return name, p, inputs, {}


run("local-linear-attention", reference, [case("both-sides", 1, 5, 7, causal=False, h=2.5), case("more-keys", 2, 3, 6), case("constant", 3, 6, 6, kernel="constant", lam=2.0),
                                          case("ridge", 4, 5, 5, ridge=True), case("two-blocks", 5, 36, 36, lam=3.0),
                                          case("small-ridge", 6, 9, 9, lam=0.01, h=0.5)], "a query at a time")
