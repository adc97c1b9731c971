# SPDX-License-Identifier: Apache-2.0
"""neural-attention-ffn: a pair at a time."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, h = inputs["x"], p["heads"]
    B, N, C = x.shape
    d = p["dim_head"]
    q, k, v = (x @ w["to_qkv.weight"].T).view(B, N, d, 3, h).permute(3, 0, 4, 1, 2)
    q, k = F.linear(q, w["q_proj.weight"], w["q_proj.bias"]), F.linear(k, w["k_proj.weight"], w["k_proj.bias"])
    pairs = torch.cat([q[:, :, :, None].expand(-1, -1, -1, N, -1), k[:, :, None].expand(-1, -1, N, -1, -1)], -1)
    for n in (1, 2, 3):
        pairs = F.linear(pairs if n == 1 else F.relu(pairs), w[f"linear{n}.weight"], w[f"linear{n}.bias"])
    s = pairs[..., 0]
    if p["causal"]:
        s = s.masked_fill(~torch.ones(N, N).tril().bool(), -torch.inf)
    a = s.softmax(-1)
    return {"out": (a @ v).transpose(1, 2).flatten(2) @ w["W_out.weight"].T, "weights": a}


def case(name, seed, N, causal, C=8, h=2, d=5, p=4):
    s = {"to_qkv.weight": (3 * h * d, C), "q_proj.weight": (p, d), "q_proj.bias": (p,), "k_proj.weight": (p, d), "k_proj.bias": (p,), "linear1.weight": (p, 2 * p),
         "linear1.bias": (p,), "linear2.weight": (p // 2, p), "linear2.bias": (p // 2,), "linear3.weight": (1, p // 2), "linear3.bias": (1,), "W_out.weight": (C, h * d)}
    return name, {"dim": C, "heads": h, "dim_head": d, "projection_dim": p, "causal": causal}, draw(seed, x=(2, N, C)), draw(seed + 50, 0.6, **s)


run("neural-attention-ffn", reference, [case("both-sides", 1, 6, False), case("two-blocks", 2, 35, True, p=2)], "a pair at a time")
