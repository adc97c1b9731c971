# SPDX-License-Identifier: Apache-2.0
"""biformer-bra: region after region, the tokens of the chosen regions picked from the map."""
import torch
from torch.nn.functional import conv2d

from autograd import rand, run


def bra(p, i, w):
    last, n, H, topk = p.get("layout", "nhwc") == "nhwc", p.get("n_win", 7), p.get("num_heads", 8), p.get("topk", 4)
    x = i["x"] if last else i["x"].permute(0, 2, 3, 1)
    B, h, wd, C = x.shape
    Q = (p.get("qk_dim") or C) if last else C
    name, end = ("qkv.qkv", "wo") if last else ("qkv_linear", "output_linear")
    qkv = x @ w[name + ".weight"].flatten(1).T + w[name + ".bias"]
    q, k, v = qkv.split([Q, Q, C], -1)
    a, b = h // n, wd // n
    region = lambda t, r: t[r // n * a:(r // n + 1) * a, r % n * b:(r % n + 1) * b].flatten(0, 1)
    out, indices, routing = torch.zeros_like(v), [], []
    for s in range(B):
        means = lambda t: torch.stack([region(t[s], r).mean(0) for r in range(n * n)]).detach()
        best = torch.topk(means(q) @ means(k).T / Q ** 0.5, topk, -1)
        indices.append(best.indices)
        routing.append(torch.softmax(best.values, -1))
        for r in range(n * n):
            factor = routing[-1][r] if p.get("soft_routing") and last else torch.ones(topk).double()
            pick = lambda t: torch.cat([region(t[s], int(j)) * f for j, f in zip(best.indices[r], factor)])
            rows = [torch.softmax(qh @ kh.T / Q ** 0.5, -1) @ vh for qh, kh, vh in zip(region(q[s], r).chunk(H, -1), pick(k).chunk(H, -1), pick(v).chunk(H, -1))]
            mine = torch.zeros_like(v[s])
            mine[r // n * a:(r // n + 1) * a, r % n * b:(r % n + 1) * b] = torch.cat(rows, -1).view(a, b, C)
            out = out + torch.zeros_like(out).index_add(0, torch.tensor([s]), mine[None])
    side = p.get("side_dwconv", 3)
    if side:
        out = out + conv2d(v.permute(0, 3, 1, 2), w["lepe.weight"], w["lepe.bias"], padding=side // 2, groups=C).permute(0, 2, 3, 1)
    out = out @ w[end + ".weight"].flatten(1).T + w[end + ".bias"]
    result = {"out": out if last else out.permute(0, 3, 1, 2), "indices": torch.stack(indices)}
    return result | ({"routing_weights": torch.stack(routing)} if last else {})


def weights(seed, C, Q, side, last=True):
    names = ("qkv.qkv", "wo") if last else ("qkv_linear", "output_linear")
    one = () if last else (1, 1)
    w = {names[0] + ".weight": rand([seed, 1], 2 * Q + C, C, *one, std=0.4), names[0] + ".bias": rand([seed, 2], 2 * Q + C),
         names[1] + ".weight": rand([seed, 3], C, C, *one, std=0.4), names[1] + ".bias": rand([seed, 4], C)}
    return w | ({"lepe.weight": rand([seed, 5], C, 1, side, side), "lepe.bias": rand([seed, 6], C)} if side else {})


run("biformer-bra", bra, [
    ("soft", {"dim": 8, "num_heads": 2, "n_win": 2, "qk_dim": 12, "topk": 3, "soft_routing": True}, {"x": rand(1, 2, 4, 6, 8)}, weights(1, 8, 12, 3)),
    ("no-convolution", {"dim": 8, "num_heads": 4, "n_win": 3, "topk": 9, "side_dwconv": 0}, {"x": rand(2, 1, 3, 6, 8)}, weights(2, 8, 8, 0)),
    ("nchw", {"layout": "nchw", "dim": 8, "num_heads": 2, "n_win": 2, "topk": 2, "side_dwconv": 5}, {"x": rand(3, 2, 8, 6, 4)}, weights(3, 8, 8, 5, False)),
], "region by region")
