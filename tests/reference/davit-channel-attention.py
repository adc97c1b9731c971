# SPDX-License-Identifier: Apache-2.0
"""davit-channel-attention: softmax(Cg^-1/2 K^T V) of channels against channels, applied to q; the block around it."""
import torch
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    x = x["x"]
    B, N, C = x.shape
    h, prefix = p["num_heads"], "attn." if p.get("block") else ""

    def lin(y, name):
        return F.linear(y, w[name + ".weight"], w.get(name + ".bias"))

    def attention(y):
        q, k, v = lin(y, prefix + "qkv").view(B, N, 3, h, C // h).unbind(2)
        a = (torch.einsum("bnhc,bnhd->bhcd", k, v) * (C // h) ** -0.5).softmax(-1)
        return lin(torch.einsum("bhcd,bnhd->bnhc", a, q).reshape(B, N, C), prefix + "proj"), a
    if not p.get("block"):
        y, a = attention(x)
        return {"out": y, "weights": a}

    def place(y, i):
        m = y.transpose(1, 2).view(B, C, p["H"], p["W"])
        return y + F.conv2d(m, w[f"cpe.{i}.proj.weight"], w[f"cpe.{i}.proj.bias"], padding=1, groups=C).flatten(2).transpose(1, 2)

    def norm(y, name):
        return F.layer_norm(y, (C,), w[name + ".weight"], w[name + ".bias"])
    x = place(x, 0)
    x = place(x + attention(norm(x, "norm1"))[0], 1)
    return {"out": x + lin(F.gelu(lin(norm(x, "norm2"), "mlp.fc1")), "mlp.fc2")}


eager = reference  # for heed bench: the module as it is released, but for names


block = layer("cpe.0.proj", 8, 1, 3, 3) | layer("cpe.1.proj", 8, 1, 3, 3) | {f"norm{i}.{n}": (8,) for i in (1, 2) for n in ("weight", "bias")}
block |= layer("attn.qkv", 24, 8) | layer("attn.proj", 8, 8) | layer("mlp.fc1", 16, 8) | layer("mlp.fc2", 8, 16)
run("davit-channel-attention", reference, [
    ("no-bias", {"dim": 12, "num_heads": 3, "qkv_bias": False}, {"x": (2, 7, 12)}, layer("qkv", 36, 12, bias=False) | layer("proj", 12, 12)),
    ("block", {"dim": 8, "num_heads": 2, "qkv_bias": True, "mlp_ratio": 2, "H": 3, "W": 4, "block": True}, {"x": (2, 12, 8)}, block),
    ("block-sharp", {"dim": 8, "num_heads": 1, "qkv_bias": True, "mlp_ratio": 2, "H": 5, "W": 7, "block": True}, {"x": (2, 35, 8)}, block),
], "channel group attention")
