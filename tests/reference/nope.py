# SPDX-License-Identifier: Apache-2.0
"""nope: pair by pair under each encoding; divergences of attention rows by torch's own."""
import math

import numpy as np
import torch
import torch.nn.functional as F

from autograd import draw, run


def bucket(d, all, far):
    exact = all // 2
    d = max(d, 0)
    return d if d < exact else min(exact + int(math.log(d / exact) / math.log(far / exact) * (all - exact)), all - 1)


def turned(x, dims):  # x: B H N D; channels 2i and 2i + 1 as a complex number
    N = x.shape[2]
    angle = torch.arange(N, dtype=torch.float64)[:, None] * 1e4 ** (-torch.arange(0, dims, 2, dtype=torch.float64) / dims)
    z = torch.view_as_complex(x[..., :dims].reshape(*x.shape[:3], dims // 2, 2)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([torch.view_as_real(z).flatten(3), x[..., dims:]], -1)


def slopes(H):
    n = 2 ** int(math.log2(H))
    of = lambda m: [2 ** (-8 * (h + 1) / m) for h in range(m)]
    return torch.tensor((of(n) + of(2 * n)[::2])[:H], dtype=torch.float64)


def divergence(inputs):
    a, b = inputs["a"], inputs["b"]
    sums = {"out": [], "jsd_official": []}
    for l in range(len(a)):
        p, q = a[l, :l + 1], b[l, :l + 1]
        m = (p + q) / 2
        kl = lambda x, of: F.kl_div(x.log(), of, reduction="sum")  # KL(of | x)
        sums["out"].append((kl(m, p) + kl(m, q)) / 2)
        sums["jsd_official"].append((kl(p, m) + kl(q, m)) / 2)
    return {n: torch.stack(s).mean().reshape(1) for n, s in sums.items()}


def reference(p, inputs, w):
    if "metric" in p:
        return divergence(inputs)
    x, H, kind = inputs["x"], p["num_heads"], p["position_encoding_type"]
    B, N, C = x.shape
    q, k, v = (F.linear(x, w[n + ".weight"]).view(B, N, H, -1).transpose(1, 2) for n in "qkv")
    D = q.shape[-1]
    i, j = torch.arange(N)[:, None], torch.arange(N)
    if kind == "rotary":
        dims = p.get("rotary_dim", D // 4)
        q, k = turned(q, dims), turned(k, dims)
    scale = p.get("scale", 1.0)
    if kind == "transformer_xl_relative_encoding":
        angle = (i - j).clamp(max=1000)[..., None] * w["pos_emb.inv_freq"]
        r = F.linear(torch.cat([angle.sin(), angle.cos()], -1), w["r.weight"]).view(N, N, H, D)
        s = scale * ((q + w["r_w_bias"][:, None]) @ k.transpose(2, 3) + torch.einsum("bhic,ijhc->bhij", q + w["r_r_bias"][:, None], r))
    else:
        s = scale * q @ k.transpose(2, 3)
    if kind == "t5_relative_bias":
        at = torch.tensor([[bucket(a - b, p.get("relative_attention_num_buckets", 32), p.get("relative_attention_max_distance", 128)) for b in range(N)] for a in range(N)])
        s = s + w["relative_attention_bias.weight"][at].permute(2, 0, 1)
    if kind == "alibi":
        s = s + slopes(H)[:, None, None] * j
    if p.get("causal", True):
        s = s.masked_fill(j > i, -torch.inf)
    m = s.softmax(-1)
    return {"out": F.linear((m @ v).transpose(1, 2).flatten(2), w["o.weight"]), "weights": m}


def case(name, seed, kind, H=3, D=8, C=10, N=11, **p):
    s = {n + ".weight": (H * D, C) for n in "qkv"} | {"o.weight": (C, H * D)}
    if kind == "t5_relative_bias":
        s["relative_attention_bias.weight"] = ((p.get("relative_attention_num_buckets", 32), H), 1.0, 0.0)
    if kind == "transformer_xl_relative_encoding":
        s |= {"r.weight": (H * D, C), "r_w_bias": (H, D), "r_r_bias": (H, D)}
    weights = draw(seed + 50, 0.35, **s)
    if kind == "transformer_xl_relative_encoding":
        weights["pos_emb.inv_freq"] = (1e4 ** (-np.arange(0, C, 2) / C)).astype(np.float32)
    return name, {"position_encoding_type": kind, "num_heads": H, **p}, draw(seed, x=(2, N, C)), weights


def rows(name, seed, N, sharp):
    def one(n):
        a = np.tril(np.exp(sharp * np.random.default_rng([seed, n]).standard_normal((N, N))))
        return (a / a.sum(1, keepdims=True)).astype(np.float32)
    return name, {"metric": "compute_jsd_two_matrix"}, {"a": one(0), "b": one(1)}, {}


run("nope", reference, [
    case("t5", 1, "t5_relative_bias", H=2, D=4, N=17, relative_attention_num_buckets=12, relative_attention_max_distance=15), case("t5-defaults", 2, "t5_relative_bias", H=2, D=3, N=19),
    case("t5-odd-buckets", 3, "t5_relative_bias", H=2, D=3, N=14, relative_attention_num_buckets=7, relative_attention_max_distance=10, causal=False),
    case("alibi", 4, "alibi", H=6, D=2, scale=0.7), case("alibi-one-head", 5, "alibi", H=1, D=5), case("rotary", 6, "rotary", d_kv=8, d_model=10),
    case("rotary-dim", 7, "rotary", rotary_dim=4), case("rotary-all", 8, "rotary", H=2, rotary_dim=8, causal=False, scale=0.4), case("xl", 9, "transformer_xl_relative_encoding", D=4),
    case("xl-scale", 10, "transformer_xl_relative_encoding", H=2, D=3, N=7, scale=0.6, causal=False), case("none", 11, "none", H=2, D=3, causal=False, scale=0.5),
    rows("divergence", 12, 7, 1.0), rows("divergence-short", 13, 2, 1.0), rows("divergence-sharp", 14, 12, 3.0)], "pair by pair", no_gradient=("pos_emb.inv_freq", "a", "b"))
