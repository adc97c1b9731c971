# SPDX-License-Identifier: Apache-2.0
"""fused-neighborhood-attention: all pairs of places with a mask that is the product of one mask an axis."""
import math

import torch

from maps import run


def axis(n, kernel, dilation, causal):
    """Whether query i sees key j, the offset (j - i)/dilation + kernel - 1, and the key's place in the window."""
    seen, offset, place = torch.zeros(n, n, dtype=torch.bool), torch.zeros(n, n, dtype=torch.long), torch.zeros(n, n, dtype=torch.long)
    for i in range(n):
        group = range(i % dilation, n, dilation)
        at = group.index(i)
        first = max(at - kernel + 1, 0) if causal else min(max(at - kernel // 2, 0), len(group) - kernel)
        for j in group[first:at + 1 if causal else first + kernel]:
            seen[i, j], offset[i, j], place[i, j] = True, (j - i) // dilation + kernel - 1, group.index(j) - first
    return seen, offset, place


def reference(p, x, w):
    q, k, v = (x[n] for n in "qkv")
    space, H, D = q.shape[1:-2], q.shape[-2], q.shape[-1]
    axes = [axis(n, *options) for n, *options in zip(space, p["kernel_size"], p["dilation"], p["is_causal"])]
    places = torch.cartesian_prod(*(torch.arange(n) for n in space)).view(-1, len(space))
    seen = torch.ones(len(places), len(places), dtype=torch.bool)
    index, slot = torch.zeros(2, len(places), len(places), dtype=torch.long)
    for a, (mask, offset, place) in enumerate(axes):
        i, j = places[:, a][:, None], places[:, a][None]
        seen &= mask[i, j]
        index = index * (2 * p["kernel_size"][a] - 1) + offset[i, j]
        slot = slot * p["kernel_size"][a] + place[i, j]
    q, k, v = (t.flatten(1, -3) for t in (q, k, v))
    s = torch.einsum("bihd,bjhd->bhij", q, k) * p.get("scale", D**-0.5)
    if "rpb" in w:
        s = s + w["rpb"].flatten(1)[:, index]
    s = s.masked_fill(~seen, -torch.inf)
    pairs = s.softmax(-1)
    out = torch.einsum("bhij,bjhd->bihd", pairs, v)
    found = {"out": out.view(-1, *space, H, v.shape[-1]), "lse": s.logsumexp(-1).transpose(1, 2).reshape(-1, *space, H)}
    window = torch.zeros(*pairs.shape[:3], math.prod(p["kernel_size"]), dtype=pairs.dtype).scatter_add(3, slot.expand_as(pairs), pairs * seen)
    return found | {"weights": window.transpose(1, 2).reshape(-1, *space, H, window.shape[-1])}


def case(name, space, kernel, dilation, causal, bias, **more):
    inputs = {n: (2, *space, 2, 4) for n in "qk"} | {"v": (2, *space, 2, 3)}
    return name, {"kernel_size": kernel, "dilation": dilation, "is_causal": causal, **more}, inputs, {"rpb": (2, *(2 * k - 1 for k in kernel))} if bias else {}


run("fused-neighborhood-attention", reference, [
    case("line", (11,), [3], [2], [False], True), case("causal-line", (9,), [5], [1], [True], False, scale=0.7),
    case("half-causal", (6, 7), [3, 3], [1, 2], [True, False], False), case("volume", (3, 5, 6), [3, 5, 2], [1, 1, 3], [False, False, False], True),
    case("causal-volume", (4, 3, 4), [3, 2, 2], [1, 1, 2], [True, False, True], False), case("causal-plane", (4, 5), [3, 2], [1, 2], [True, True], False),
    case("even", (7, 5), [4, 2], [1, 2], [False, False], True, scale=0.6),
], "neighborhood attention")
