# SPDX-License-Identifier: Apache-2.0
"""moba: every query gathers the keys of its own block up to itself and of its best past blocks."""
import numpy as np
import torch

from autograd import rand, run


def moba(p, i, w):
    size, top = p.get("moba_chunk_size", 512), p.get("moba_topk", 3)
    q, k, v = i["q"][0], i["k"][0], i["v"][0]
    S, H, D = q.shape
    bounds = i["cu_seqlens"].tolist() if "cu_seqlens" in i else [0, S]
    blocks = max(-(-(b - a) // size) for a, b in zip(bounds, bounds[1:]))
    selected, out = torch.zeros(S, H, blocks, dtype=torch.bool), []
    for a, b in zip(bounds, bounds[1:]):
        for t in range(a, b):
            own, rows = (t - a) // size, []
            for h in range(H):
                g = h // (H // k.shape[1])
                gate = [(q[t, h] @ k[a + n * size:a + (n + 1) * size, g].mean(0)).item() for n in range(own)]
                seen = sorted(sorted(range(own), key=lambda n: -gate[n])[:top - 1]) + [own]
                selected[t, h, seen] = True
                keys = [j for n in seen for j in range(a + n * size, min(a + (n + 1) * size, t + 1))]
                weights = torch.softmax(k[keys, g] @ q[t, h] / D ** 0.5, 0)
                rows.append(weights @ v[keys, g])
            out.append(torch.stack(rows))
    return {"out": torch.stack(out)[None], "selected": selected}


def io(seed, S, H, G, D, E, **more):
    return {"q": rand([seed, 1], 1, S, H, D), "k": rand([seed, 2], 1, S, G, D), "v": rand([seed, 3], 1, S, G, E)} | more


run("moba", moba, [
    ("packed", {"moba_chunk_size": 4, "moba_topk": 2}, io(1, 37, 2, 2, 8, 8, cu_seqlens=np.array([0, 10, 11, 11, 37])), {}),
    ("own-block", {"moba_chunk_size": 6, "moba_topk": 1}, io(2, 20, 2, 2, 8, 8), {}),
    ("grouped", {"moba_chunk_size": 5, "moba_topk": 4}, io(3, 33, 4, 2, 8, 6), {}),
    ("defaults", {}, io(4, 9, 2, 2, 8, 8), {}),
], "keys gathered query by query")
