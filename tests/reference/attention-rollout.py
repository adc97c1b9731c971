# SPDX-License-Identifier: Apache-2.0
"""attention-rollout: rollout as sums over paths; the maximum flow as the smallest of all cuts."""
import itertools

import numpy as np
import torch

from autograd import rand, run


def max_flow(maps, i, j):
    """From token i above the layers `maps` (lowest first) to input token j: the smallest capacity over all cuts."""
    n, L = maps[0].shape[0], len(maps)
    least = np.inf
    for sides in itertools.product((False, True), repeat=(L - 1) * n):  # True: on the source's side
        level = [np.arange(n) != j] + [np.array(sides[l * n:(l + 1) * n]) for l in range(L - 1)] + [np.arange(n) == i]
        # Other inputs have nowhere to go on to: they stand on the source's side and cut nothing.
        least = min(least, sum(maps[l][np.ix_(level[l + 1], ~level[l])].sum() for l in range(L)))
    return least


def reference(p, inputs, _):
    L, _, H, N, _ = inputs["attentions"].shape
    maps = [sum(inputs["attentions"][l, 0, h] for h in range(H)) / H + torch.eye(N, dtype=torch.float64) for l in range(L)]
    maps = [m / m.sum(1, keepdim=True) for m in maps]
    out = []
    for l in range(L):
        total = torch.zeros(N, N, dtype=torch.float64)
        for path in itertools.product(range(N), repeat=l + 2):
            step = torch.zeros(N, N, dtype=torch.float64)
            step[path[-1], path[0]] = 1
            weight = 1
            for m in range(l + 1):
                weight = weight * maps[m][path[m + 1], path[m]]
            total = total + weight * step
        out.append(total)
    plain = [m.detach().numpy() for m in maps]
    values = torch.tensor([[[max_flow(plain[:l + 1], i, j) for j in range(N)] for i in range(N)] for l in range(L)])
    return {"out": torch.stack(out), "flow_values": values, "flow": values / values.sum(-1, keepdim=True)}


def case(name, seed, L, H, N, causal):
    a = rand(seed, L, 1, H, N, N, std=2.0)
    if causal:
        a[..., np.triu_indices(N, 1)[0], np.triu_indices(N, 1)[1]] = -np.inf
    a = np.exp(a)
    return name, {"layers": L, "heads": H, "causal": causal}, {"attentions": (a / a.sum(-1, keepdims=True)).astype(np.float32)}, {}


run("attention-rollout", reference, [case("causal", 1, 3, 2, 4, True), case("more-heads", 2, 2, 5, 4, False), case("one-layer", 3, 1, 1, 3, False), case("deep", 4, 4, 3, 3, True)],
    "sums over paths, smallest cuts")
