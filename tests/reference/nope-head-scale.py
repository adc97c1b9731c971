# SPDX-License-Identifier: Apache-2.0
"""nope-head-scale: the whole matrix of scores, scaled a head; entropies in bits."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H = inputs["x"], p["num_attention_heads"]
    G = p.get("num_key_value_heads", H)
    B, N, C = x.shape
    D = w["q_proj.weight"].shape[0] // H
    q = F.linear(x, w["q_proj.weight"]).view(B, N, H, D).transpose(1, 2)
    k, v = (F.linear(x, w[n + "_proj.weight"]).view(B, N, G, D).transpose(1, 2).repeat_interleave(H // G, 1) for n in "kv")
    s = q @ k.transpose(2, 3) / D**0.5
    s = s * (w["scale_param"][:, None, None] if p.get("kind", "HeadScale") == "HeadScale" else p.get("softmax_scale", 1.2))
    if p.get("causal", True):
        s = s.masked_fill(torch.arange(N) > torch.arange(N)[:, None], -torch.inf)
    m = s.softmax(-1)
    return {"out": F.linear((m @ v).transpose(1, 2).flatten(2), w["o_proj.weight"]), "entropy": -torch.special.xlogy(m, m).sum(-1) / torch.log(torch.tensor(2.0, dtype=torch.float64))}


def case(name, seed, H=4, G=2, D=3, C=10, N=9, **p):
    shapes = {"q_proj.weight": (H * D, C), "k_proj.weight": (G * D, C), "v_proj.weight": (G * D, C), "o_proj.weight": (C, H * D)}
    if p.get("kind") != "UniformScale":
        shapes["scale_param"] = ((H,), 0.4, 1.2)
    return name, {"num_attention_heads": H, **p}, draw(seed, x=(2, N, C)), draw(seed + 50, 0.6, **shapes)


run("nope-head-scale", reference, [case("uniform", 1, kind="UniformScale", softmax_scale=1.7, num_key_value_heads=2), case("uniform-both-sides", 2, G=4, kind="UniformScale", causal=False),
                                   case("heads", 3, kind="HeadScale", num_key_value_heads=2, softmax_scale=3.0), case("one-key-head", 4, H=3, G=1, num_key_value_heads=1, causal=False, hidden_size=10)],
    "the whole matrix of scores")
