# SPDX-License-Identifier: Apache-2.0
"""relpos-m1-m4: the table looked up for every pair."""
import numpy as np
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H, P, method = inputs["x"], p["num_attention_heads"], p["max_position_embeddings"], p["method"]
    B, N, C = x.shape
    q, k, v = (F.linear(x, w[n + ".weight"], w[n + ".bias"]).view(B, N, H, C // H).transpose(1, 2) for n in ("query", "key", "value"))
    i, j = torch.arange(N)[:, None], torch.arange(N)
    a = w["distance_embedding.weight"][(i - j).abs() if method == "M1" else i - j + P - 1]  # N N D
    s = q @ k.transpose(2, 3)
    if method in ("M1", "M2"):
        s = s * a[..., 0]
    elif method == "M3":
        s = torch.einsum("bhic,bhjc,ijc->bhij", q, k, a)
    else:
        s = s + torch.einsum("bhic,ijc->bhij", q, a)
        if method == "M4" and p.get("position_embedding_type") != "relative_key":
            s = s + torch.einsum("bhjc,ijc->bhij", k, a)
    s = s / (C // H) ** 0.5
    if p.get("causal"):
        s = s.masked_fill(j > i, -torch.inf)
    if "key_len" in inputs:
        s = s.masked_fill(j[None, None, None] >= inputs["key_len"][:, None, None, None], -torch.inf)
    m = s.softmax(-1)
    return {"out": (m @ v).transpose(1, 2).flatten(2), "weights": m}


def case(name, seed, method, N=6, P=9, C=8, H=2, lengths=None, **p):
    s = {n + t: (C, C) if t == ".weight" else (C,) for n in ("query", "key", "value") for t in (".weight", ".bias")}
    s["distance_embedding.weight"] = {"M1": (P, 1), "M2": (2 * P - 1, 1)}.get(method, (2 * P - 1, C // H))
    inputs = draw(seed, x=(2, N, C)) | ({"key_len": np.array(lengths)} if lengths else {})
    return name, {"method": method, "hidden_size": C, "num_attention_heads": H, "max_position_embeddings": P, **p}, inputs, draw(seed + 50, 0.5, **s)


run("relpos-m1-m4", reference, [case("m1", 1, "M1"), case("m2-causal", 2, "M2", causal=True), case("m3-lengths", 3, "M3", lengths=[6, 3]), case("m3-two-blocks", 4, "M3", N=35, P=40),
                                case("shaw-lengths", 5, "shaw", lengths=[2, 5], position_embedding_type="relative_key"), case("m4-causal", 6, "M4", causal=True, lengths=[6, 4]),
                                case("relative-key", 7, "M4", position_embedding_type="relative_key")], "pair by pair")
