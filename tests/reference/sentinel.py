# SPDX-License-Identifier: Apache-2.0
"""sentinel: softmax over the context alone, which is what renormalising comes to unless the context has less than 1e-8 of all weight."""
import numpy as np
import torch

from autograd import rand, run


def reference(p, inputs, _):
    H, KV, first, last = p["num_heads"], p["num_kv_heads"], p["context_start"], p["context_end"]
    columns = []
    for l in range(p["num_layers"]):
        q, k = inputs[f"q{l}"][0, -1], inputs[f"k{l}"][0]
        for h in range(H):
            scores = k[:, h // (H // KV)] @ q[h] / q.shape[-1] ** 0.5
            seen = scores[first:last + 1]
            weights = seen.softmax(0) * torch.clamp((seen.logsumexp(0) - scores.logsumexp(0)).exp() / 1e-8, max=1)
            inside = [(max(a, first) - first, min(b, last) + 1 - first) for a, b in inputs["sentences"].tolist()]
            columns.append(torch.stack([weights[a:b].mean() for a, b in inside]))
    return {"out": torch.stack(columns, 1)}


def case(name, seed, layers, H, KV, first, last, sentences, N=14, D=4, std=1.5):
    inputs = {n: rand([seed, l, i], 1, N, heads, D, std=std) for l in range(layers) for i, (n, heads) in enumerate(((f"q{l}", H), (f"k{l}", KV)))}
    params = {"context_start": first, "context_end": last, "num_layers": layers, "num_heads": H, "num_kv_heads": KV}
    return name, params, inputs | {"sentences": np.array(sentences, np.int64)}, {}


run("sentinel", reference, [case("equal-heads", 1, 1, 2, 2, 0, 13, [[0, 6], [7, 13]]), case("four-layers", 2, 4, 4, 1, 2, 11, [[2, 2], [3, 8], [9, 11]]),
                            case("overlapping", 3, 2, 2, 1, 4, 9, [[4, 9], [5, 6]]), case("across-its-ends", 4, 1, 2, 2, 3, 8, [[0, 4], [5, 6], [7, 12]]),
                            case("hardly-seen", 6, 2, 4, 2, 6, 8, [[6, 6], [7, 8]], std=4.5)], "softmax of the context")
