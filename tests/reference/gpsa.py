# SPDX-License-Identifier: Apache-2.0
"""gpsa: both maps and their mixture."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H, side = inputs["x"], p["num_heads"], p["img_size"]
    B, N, C = x.shape
    q, k = F.linear(x, w["qk.weight"], w.get("qk.bias")).view(B, N, 2, H, C // H).unbind(2)
    v = F.linear(x, w["v.weight"], w.get("v.bias")).view(B, N, H, C // H)
    at = torch.arange(N)
    dx, dy = ((t[None] - t[:, None]).to(x.dtype) for t in (at % side, at // side))
    local = F.linear(torch.stack([dx, dy, dx**2 + dy**2], -1), w["pos_proj.weight"], w["pos_proj.bias"]).permute(2, 0, 1).softmax(-1)
    s = torch.sigmoid(w["gating_param"]).view(1, -1, 1, 1)
    a = (1 - s) * (torch.einsum("bihd,bjhd->bhij", q, k) / (C // H) ** 0.5).softmax(-1) + s * local
    a = a / a.sum(-1, keepdim=True)
    return {"out": F.linear(torch.einsum("bhij,bjhd->bihd", a, v).flatten(2), w["proj.weight"], w["proj.bias"]), "weights": a}


def case(name, seed, side, C, H, bias, **more):
    s = {"qk.weight": (2 * C, C), "v.weight": (C, C), "proj.weight": (C, C), "proj.bias": (C,), "pos_proj.weight": (H, 3), "pos_proj.bias": (H,), "gating_param": (H,)}
    s |= {"qk.bias": (2 * C,), "v.bias": (C,)} if bias else {}
    return name, {"dim": C, "num_heads": H, "img_size": side, "qkv_bias": bias, **more}, draw(seed, x=(2, side * side, C)), draw(seed + 50, 0.5, **s)


run("gpsa", reference, [case("no-bias", 1, 3, 8, 4, False), case("bias", 2, 2, 6, 2, True),
                        case("local", 3, 5, 9, 3, False, locality_strength=2.5, local_init=True), case("one-patch", 4, 1, 4, 1, True)], "both maps")
