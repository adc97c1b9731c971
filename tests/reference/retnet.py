# SPDX-License-Identifier: Apache-2.0
"""retnet: the paper's three forms, the parallel one over all pairs, the others token by token; scales without gradient."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def rotate(y):  # (B, N, H, D)
    half = y.shape[3] // 2
    angle = torch.arange(y.shape[1], dtype=y.dtype)[:, None] / 10000 ** torch.linspace(0, 1, half, dtype=y.dtype)
    z = torch.view_as_complex(y.reshape(*y.shape[:3], half, 2).contiguous()) * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.view_as_real(z).reshape(y.shape)


def reference(params, inputs, w):
    x, H, C, eps = inputs["x"], params["num_heads"], params.get("recurrent_chunk_size", 512), params.get("layernorm_eps", 1e-6)
    B, N, _ = x.shape
    lin = lambda n, y: F.linear(y, w[n + "_proj.weight"])
    q, k, v = (lin(n, x).view(B, N, H, -1) for n in "qkv")
    q, k = rotate(q), rotate(k * k.shape[3] ** -0.5)
    g = 1 - 2.0 ** (-5 - torch.arange(H, dtype=x.dtype))
    gate = {"swish": F.silu, "gelu": F.gelu, "relu": F.relu}[params.get("gate_fn", "swish")](lin("g", x))

    def finish(o):
        return lin("out", gate * (o * torch.rsqrt(o.square().mean(3, keepdim=True) + eps)).reshape(B, N, -1))

    n = torch.arange(N)
    rows = ((n[:, None] - n[None]).clamp(min=0) * torch.log(g)[:, None, None]).exp().tril()
    rows = rows / rows.sum(2, keepdim=True).sqrt()
    a = torch.einsum("bihd,bjhd->bhij", q, k) * rows
    outs = {"parallel": finish(torch.einsum("bhij,bjhe->bihe", a / a.detach().abs().sum(3, keepdim=True).clamp(1, 5e4), v))}

    size = lambda i: ((1 - g ** (i + 1)) / (1 - g)).sqrt()  # (H)
    S, recurrent, chunked = torch.zeros(B, H, q.shape[3], v.shape[3], dtype=x.dtype), [], []
    for t in range(N):
        if t % C == 0:
            before = (S / size(torch.tensor(C - 1.0))[:, None, None] ** 2).detach().abs().sum(2).amax(2).clamp(min=1) if t else torch.ones(B, H, dtype=x.dtype)
        S = S * g[:, None, None] + k[:, t, :, :, None] * v[:, t, :, None]
        o = (q[:, t, :, None] @ S)[:, :, 0]
        recurrent.append(o / size(t)[:, None])
        start = t - t % C
        own = torch.einsum("bhd,bjhd->bhj", q[:, t], k[:, start:t + 1]) * g[:, None] ** torch.arange(t - start, -1, -1)
        own = (own / size(t - start)[:, None]).detach().abs().sum(2)
        chunked.append(o / size(t - start)[:, None] / torch.maximum(own.clamp(min=1), before)[..., None])
    outs["recurrent"], outs["chunkwise"] = finish(torch.stack(recurrent, 1)), finish(torch.stack(chunked, 1))
    return {"out": outs[params.get("form", "parallel")], **outs}


def weights(seed, C, V, scale=0.5):
    return draw(seed, scale, **{"q_proj.weight": (C, C), "k_proj.weight": (C, C), "v_proj.weight": (V, C), "g_proj.weight": (V, C), "out_proj.weight": (C, V)})


run("retnet", reference, [
    ("chunkwise", {"embed_dim": 12, "value_dim": 24, "num_heads": 3, "recurrent_chunk_size": 5, "form": "chunkwise", "layernorm_eps": 0.1},
     draw(1, x=(2, 18, 12)), weights(11, 12, 24)),
    ("recurrent", {"num_heads": 2, "recurrent_chunk_size": 4, "form": "recurrent", "gate_fn": "gelu", "layernorm_eps": 0.01},
     draw(2, x=(2, 11, 16)), weights(12, 16, 32)),
    ("equal-widths", {"num_heads": 4, "value_dim": 16, "recurrent_chunk_size": 70, "gate_fn": "relu", "layernorm_eps": 1.0},
     draw(3, 3.0, x=(1, 66, 16)), weights(13, 16, 16)),
], "three forms", atol="1e-4")
