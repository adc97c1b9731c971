# SPDX-License-Identifier: Apache-2.0
"""spatten: a head at a time, sets of positions and full sorts."""
import numpy as np
import torch

from autograd import rand, run


def reference(p, inputs, _):
    start, recent, important, coming = p["start_size"], p["recent_size"], p["important_size"], p["num_coming"]
    outs = {}
    for l in range(sum(n.startswith("attn") for n in inputs)):
        a = inputs[f"attn{l}"]
        H, N = a.shape[1], a.shape[3]
        total = torch.stack([sum(a[0, h, i] for i in range(a.shape[2])) for h in range(H)])
        rows = []
        for h in range(H):
            keep = set(range(N))
            if N + coming > start + important + recent:
                last = min(N, N - recent + coming)
                middle = range(start, last)
                keep = set(range(start)) | set(range(last, N)) | set(sorted(middle, key=lambda j: -float(total[h, j].detach()))[:important])
            rows.append(sorted(keep))
        outs[f"indices{l}"], outs[f"scores{l}"] = torch.tensor(rows), total
    outs["out"] = torch.stack([inputs[f"k{l}"][0, rows[h], h] for h in range(H)], 1)[None]
    return outs


def case(name, seed, layers, N, coming, logits, start=2, recent=3, important=4, H=2, Nq=3, D=2):
    inputs = {}
    for l in range(layers):
        a = rand([seed, l], 1, H, Nq, N)
        inputs |= {f"attn{l}": a if logits else (np.exp(a) / np.exp(a).sum(-1, keepdims=True)).astype(np.float32),
                   f"k{l}": rand([seed, l, 1], 1, N, H, D), f"v{l}": rand([seed, l, 2], 1, N, H, D)}
    return name, {"start_size": start, "recent_size": recent, "important_size": important, "num_coming": coming}, inputs, {}


CASES = [case("nothing-pruned", 1, 2, 8, 1, False), case("just-enough", 2, 1, 9, 0, False), case("one-too-many", 3, 1, 10, 0, False), case("logits", 4, 2, 14, 2, True),
         case("none-coming", 5, 3, 13, 0, False), case("all-recent-to-come", 6, 1, 12, 3, True), case("no-start", 7, 1, 12, 1, False, start=0),
         case("more-to-come", 8, 2, 12, 7, False)]
run("spatten", reference, CASES, "sets of positions")
