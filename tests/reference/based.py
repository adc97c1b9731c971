# SPDX-License-Identifier: Apache-2.0
"""based: the weights of every pair; torch's convolution."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(params, inputs, w):
    x = inputs["x"]
    B, N, C = x.shape
    mixer = params.get("mixer", "linear_attention")
    if mixer == "base_conv":
        K = params.get("kernel_size", 3)
        a, b = F.linear(x, w["in_proj.weight"], w["in_proj.bias"]).chunk(2, -1)
        a = F.conv1d(F.pad(a.transpose(1, 2), (K - 1, 0)), w["conv.conv.weight"], groups=a.shape[2]).transpose(1, 2)
        return {"out": F.linear(F.silu(a) * b, w["out_proj.weight"], w["out_proj.bias"])}
    i, j = torch.arange(N)[:, None], torch.arange(N)[None]
    if mixer == "slide_attn":
        q, k, v = F.linear(x, w["Wqkv.weight"], w["Wqkv.bias"]).chunk(3, -1)
        s = (q @ k.transpose(1, 2) * C ** -0.5).masked_fill((j > i) | (j < i - params.get("block_size", 64)), float("-inf"))
        return {"out": F.linear(torch.softmax(s, -1) @ v, w["out_proj.weight"], w["out_proj.bias"])}
    H, d = params.get("num_heads", 12), params.get("feature_dim", 16)
    q, k, v = (F.linear(x, w["proj_" + n + ".weight"]).view(B, N, H, -1).transpose(1, 2) for n in "qkv")
    s = q @ k.transpose(2, 3) * d ** -0.5
    f = (1 + s + s * s / 2).tril()
    o = (f @ v) / (f.sum(3, keepdim=True) + params.get("eps", 1e-12))
    out = F.linear(o.transpose(1, 2).reshape(B, N, -1), w["out_proj.weight"])
    return {"out": out, "recurrent": out}


def linear(seed, C, H, d, V):
    return draw(seed, 0.4, **{"proj_q.weight": (H * d, C), "proj_k.weight": (H * d, C), "proj_v.weight": (V, C), "out_proj.weight": (C, V)})


def conv(seed, C, K, expand):
    wide = expand * C
    return draw(seed, 0.4, **{"in_proj.weight": (wide, C), "in_proj.bias": (wide,), "conv.conv.weight": (wide // 2, 1, K),
                              "out_proj.weight": (C, wide // 2), "out_proj.bias": (C,)})


def window(seed, C):
    return draw(seed, 0.4, **{"Wqkv.weight": (3 * C, C), "Wqkv.bias": (3 * C,), "out_proj.weight": (C, C), "out_proj.bias": (C,)})


run("based", reference, [
    ("narrow-values", {"num_heads": 2, "feature_dim": 5, "head_dim": 3, "eps": 0.01}, draw(1, x=(2, 15, 12)), linear(11, 12, 2, 5, 6)),
    ("defaults", {"num_heads": 3}, draw(2, x=(1, 57, 12)), linear(12, 12, 3, 16, 12)),
    ("base-conv", {"mixer": "base_conv", "d_model": 10}, draw(3, x=(2, 9, 10)), conv(13, 10, 3, 4)),
    ("base-conv-wide", {"mixer": "base_conv", "kernel_size": 5, "expand_proj": 2}, draw(4, x=(1, 3, 6)), conv(14, 6, 5, 2)),
    ("slide-attn", {"mixer": "slide_attn", "d_model": 8, "block_size": 6}, draw(5, x=(2, 17, 8)), window(15, 8)),
    ("slide-attn-wide", {"mixer": "slide_attn"}, draw(6, x=(1, 70, 6)), window(16, 6)),
], "all pairs")
