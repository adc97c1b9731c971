# SPDX-License-Identifier: Apache-2.0
"""kdgqa: each query head given the key head of its group. dgqa's own code repairs a sum that is not H at random: only exact sums here."""
import numpy as np
import torch
import torch.nn.functional as F

from autograd import draw, run


def sizes(p, n, H, cache):
    kind = p["kind"]
    if kind == "pgqa":
        return np.full(len(n), H // len(n))
    t = (n - n.min()) / (n.max() - n.min()) if kind == "kdgqa" else abs(cache - n) if kind == "dgqa-diff" else p.get("beta", 0.9) * n + (1 - p.get("beta", 0.9)) * cache
    counts = np.round(t / t.sum() * H).astype(np.int64)
    assert kind == "kdgqa" or counts.sum() == H, counts
    while counts.sum() > H:
        counts[counts.argmax()] -= 1
    while counts.sum() < H:
        counts[counts.argmin()] += 1
    return counts


def reference(p, inputs, w):
    x, H = inputs["x"], p.get("num_heads", 8)
    G = p.get("num_kv_heads", H // 2)
    B, N, C = x.shape
    D = C // H
    q, k, v = (F.linear(x, w[n + ".weight"], w.get(n + ".bias")).view(B, N, -1, D).transpose(1, 2) for n in "qkv")
    norms = k.square().sum((2, 3)).sqrt().sum(0)
    counts = sizes(p, norms.detach().numpy(), H, inputs["cache"].detach().numpy() if "cache" in inputs else None)
    of = np.repeat(np.arange(G), counts)
    read = (q @ k[:, of].transpose(2, 3) / D**0.5).softmax(-1) @ v[:, of]
    if p["kind"] == "pgqa":
        z = inputs["noise"].detach().clone()
        for h in range(H):
            z[h, h % (H // G)] = 0
        z = (z - z.mean(1, keepdim=True)) / z.std(1, keepdim=True)
        rows = read.flatten(2)
        read = (rows - (z * rows.std(-1, keepdim=True) + rows.mean(-1, keepdim=True))).view_as(read)
    out = F.linear(read.transpose(1, 2).flatten(2), w["proj.weight"], w.get("proj.bias"))
    more = {"cache_new": norms} if p["kind"].startswith("dgqa") else {}
    return {"out": out, "splits": torch.tensor(counts), "k_norms": norms, **more}


def case(name, seed, kind, H=8, G=4, D=2, N=7, bias=True, cache=None, B=2, **p):
    C = H * D
    s = {"q.weight": (C, C), "k.weight": (G * D, C), "v.weight": (G * D, C), "proj.weight": (C, C)}
    if bias:
        s |= {n + ".bias": (s[n + ".weight"][0],) for n in ("q", "k", "v", "proj")}
    inputs = draw(seed, x=(B, N, C)) | ({"cache": np.array(cache, np.float32)} if cache is not None else {})
    if kind == "pgqa":
        inputs["noise"] = np.random.default_rng(seed).uniform(size=(H, N * D)).astype(np.float32)
    return name, {"kind": kind, **p}, inputs, draw(seed + 50, 0.5, **s)


if __name__ == "__main__":
    run("kdgqa", reference, [case("perturbed", 6, "pgqa", num_heads=8, num_kv_heads=4), case("perturbed-one-group", 7, "pgqa", H=3, G=1, N=5, bias=False, num_heads=3, num_kv_heads=1), case("two-groups", 1, "kdgqa", H=6, G=2, num_heads=6, num_kv_heads=2, dim=12), case("default-groups", 2, "kdgqa", bias=False),
                             case("diff", 3, "dgqa-diff", cache=[3.0, 22.0, 9.0, 30.0], num_heads=8, num_kv_heads=4), case("ema", 4, "dgqa-ema", cache=[604.0, 724.0, 21.0, 727.0]),
                             case("ema-beta", 5, "dgqa-ema", H=6, G=3, beta=0.5, cache=[9.0, 59.0, 12.0], num_heads=6, num_kv_heads=3)], "one key head a query head", no_gradient=("cache", "noise"))
